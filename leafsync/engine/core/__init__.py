"""The pure part: values and functions without a loop, a socket, a file or a clock."""
