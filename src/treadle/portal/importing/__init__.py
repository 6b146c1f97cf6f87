"""What the page Import is made of: pure modules for what it says, and one module for each part that it draws."""
