"""The commands: each takes the parsed arguments and the session, and returns the exit code.

What only some of them need (the loop, keys, folders) is imported where they begin: start-up time is a feature.
"""
