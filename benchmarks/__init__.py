"""How fast triopool is, beside other clients, measured where a reader can repeat it.

    pip install -e ".[benchmarks]" && python -m benchmarks

asks a real server on this machine, and writes a report, all numbers as JSON, and plots. ``--help``
tells how to measure less.

**What is measured.** CPU time of the client's process, for that is what a client can do something
about, and time on the wall, which is what its user waits for but belongs to the server and to
whatever else the machine does as well. Every answer is checked, and the checking is counted: it
costs a comparison of 2,000 bytes.

**Who.** triopool, by itself and under httpx and httpx2; those two on their own transports, and what
these are made of; aiohttp, on asyncio and on uvloop. And two that are no clients, but show how fast
one could be: bytes over Trio's streams, and h11 over Trio's streams. The latter is the unit:
1.00 is what a client costs that has everything HTTP needs and nothing else.

**How.** In turns, as :mod:`benchmarks.rounds` and :mod:`benchmarks.results` tell: a machine that
does other things as well is slower in one minute than in the next, so numbers are compared within
a round, and each client has a process of its own. The server is faster than every client, and on a
machine with two cores or more it has one of them for itself.

**What should hold** is a table, :mod:`benchmarks.targets`; the report says for each line whether it
does.

The layers; imports point down only:

    __main__                     the command line
    report  plots                what is written
    targets                      what should hold
    rounds                       whose turn it is                   worker   the process of a client
    results                      what was measured, compared        insights
    experiments                  all of them                        phases  proxies_in_turn
    latency  cost  crowd  scale  transfer  proxies                  memory
    loads                        what is asked, and how often
    experiment                   what an experiment is
    bare  pools  pools_asyncio   the clients, imported where they are measured
    pooled                       what those with a pool share
    clients  runtimes            their names, and their one shape
    server                       what all of them ask
    nginx_server  granian_server                    detour   a proxy that leads to it
    programs  answers  descriptors

``insights`` are what is measured of triopool's inside: ``phases`` tells where the time of a request
goes, ``memory`` what a pool keeps, ``proxies_in_turn`` whether many proxies leave anything behind.
"""
