"""What requests meet in the fleets of one process, and leave behind: faults, and the journal.

Part of the embedded store, and imported by it alone.
"""
