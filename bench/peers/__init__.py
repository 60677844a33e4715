"""What PiSync is measured against."""
