"""SDKs, wrappers and mocks that are built on httpx, for real, on Trio and against a local server.

They need the extra ``sdks``, which is none of ``tests``: not all of them can be installed wherever
triopool can. ``.ci/run`` has it in one of its environments, and says so by TRIOPOOL_SDKS=1: there
an SDK that is missing is a failure, and elsewhere it is skipped.
"""
