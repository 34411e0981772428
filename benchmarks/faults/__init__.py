"""What is done to a running server on purpose, and whether it holds: each row beside a control that must not.

::

    __main__   runs rows, prints one JSON line each and a table   python -m benchmarks.faults   (make faults)
    row        a row, its verdict, and what a control is for
    stand      starts servers of ours, plain BentoML and sabotaged ones; ends whatever they leave
    sabotage   a small server whose faults are switched on one by one
    traffic    load in the background, tallies, askers of bytes
    victims    processes by the recorded pid of the server: signals, limits, memory, running threads

and one file a subject: kills, stopping, storms, overload, neighbours, versions, attacks, limits, wire, access, clock,
cold, soak. Loopback only; a victim is always a process that was started here or a child of one.
"""
