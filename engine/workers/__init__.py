"""Several processes receive on one port; one records (docs/decisions/a-worker-asks-to-record.md).

`crew` stands in the engine for a channel that runs in several worker processes, `hand` is one of them as
the engine sees it, `counter` answers what a worker asks. `process` is the worker itself: the same channel
as ever, on a `remote_intake`. `link` is the pipe between the two, `assignment` what goes over it.
"""
