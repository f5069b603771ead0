#!/usr/bin/env python3
"""Starts a command and sends it signals once it writes its output.

    interrupt.py SIGNAL[,SIGNAL] OUT COMMAND ...

SIGNAL may be LIMIT: instead of a signal, no file may grow beyond 4 KiB from then on, so that the next write fails. It writes once the temporary beside OUT exists. Prints 'exit N' (or 'killed by NAME') and, after SIGKILL, nothing about
the folder: what is left is for the caller to look at.
"""
import pathlib
import resource
import signal
import subprocess
import sys
import time

names, out, command = sys.argv[1].split(","), pathlib.Path(sys.argv[2]), sys.argv[3:]
process = subprocess.Popen(command)
deadline = time.monotonic() + 60
while not list(out.parent.glob(f".{out.name}.phiquant-*")):
    if process.poll() is not None:
        sys.exit(f"the command ended with {process.returncode} before it wrote anything")
    if time.monotonic() > deadline:
        process.kill()
        sys.exit("the command wrote nothing for a minute")
    time.sleep(0.002)
time.sleep(0.1)
if process.poll() is not None:
    sys.exit("the command was done before it could be interrupted")
for name in names:
    if name == "LIMIT":
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (4096, 4096))
    else:
        process.send_signal(getattr(signal, name))
code = process.wait(60)
print(f"exit {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}")
