"""What joins core, disk and net: the serving side, the connecting side and the transfer between them."""
