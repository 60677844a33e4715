"""Where fleets and accounts are kept: one protocol, several stores."""
