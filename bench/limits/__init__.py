"""What PiSync can take by itself: pending syncs, devices, logins, starts, stores, switches."""
