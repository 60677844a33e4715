"""Load for a server: requests as told, how they went, and whether a sync was lost over it."""
