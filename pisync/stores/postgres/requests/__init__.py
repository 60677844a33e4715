"""What requests meet in a shared fleet, and leave behind: faults, and the journal.

Part of the PostgreSQL store, and imported by it alone.
"""
