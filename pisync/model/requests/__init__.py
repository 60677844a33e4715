"""What requests of clients meet and leave behind: faults of HTTP, the journal, and its checks.

Pure values and functions, as all of the model. A request is named by its *call*.
"""
