"""The store that replicas share: rows in PostgreSQL. No request needs what a process keeps.

A write is three steps: read what it is about, let the model compute what follows, and make that
true by one call (`commit_work`, in the migrations) that checks whether what was read still
holds. If it does not, it is all done again. So no lock is held while a process thinks, and one that
is stopped, cut off or dead holds up nobody.
"""
