"""The folder on this device: reading, hashing, remembering and replacing its files, always below one held directory."""
