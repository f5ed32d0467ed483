"""Event handlers at work: each loader thread has a helper process in which a job's handler runs, and its files' attempts with it.

A thread cannot be ended and a process can: so a handler that hangs, or an iRODS call that does, ends when its time is up.
"""
