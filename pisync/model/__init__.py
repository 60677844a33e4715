"""What a fleet is and how its devices change: pure values and functions, without I/O or a clock."""
