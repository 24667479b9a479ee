"""Runs programs that others wrote."""

import asyncio

SECONDS_MAX = 10


async def run(*words, folder=None, said=b""):
    """Runs a program to its end; its exit status, and all that it printed."""
    process = await asyncio.create_subprocess_exec(
        *words, cwd=folder,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        async with asyncio.timeout(SECONDS_MAX):
            printed, _ = await process.communicate(said)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode, printed.decode(errors="replace")
