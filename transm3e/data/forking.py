"""Processes forked from a server without threads, because forking the training process, which has threads, can hang.

(A forked process has a copy of every lock, but not of the threads that would release them; Python 3.12 warns of it.)
The server is a separate interpreter that has imported what loading needs and does nothing else. Processes therefore start
within milliseconds at any time, also during training, and all share the libraries' memory. Their arguments are in shared
memory, too. The server ends with the process that started it, its client.
"""

from __future__ import annotations

import array
import atexit
import ctypes
import gc
import mmap
import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import Pipe, spawn
from multiprocessing.connection import Connection
from typing import Any

from transm3e.errors import UserError, first_line

# Only the training process handles these signals; its death ends the server.
CLIENT_SIGNALS = [signal.SIGINT, signal.SIGTERM] + [
    getattr(signal, name) for name in ("SIGHUP", "SIGUSR1", "SIGUSR2") if hasattr(signal, name)
]
# File descriptors passed to a process at most; the system's limit is 253.
MAX_FILES = 64
ALIGNED = 64
# Exit codes of a process that the system did not start, and of one whose function raised an error.
NOT_STARTED, FAILED = 71, 70
# Seconds between checks that the client is alive, in case another process holds its end of the socket open.
CLIENT_CHECK_S = 2.0
# OpenBLAS starts its threads on import.
ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1"}
CODE = "import sys; sys.path[:] = {path!r}; from transm3e.data.forking import serve; serve({control})"


class Process:
    """A process that the server has forked, or will fork once it has started.

    Attributes:
        exitcode: None until join() has seen its end; -n = ended by signal n (SIGKILL also where the server was killed and
            the code is unknown); NOT_STARTED; FAILED, with a traceback on standard error.
    """

    def __init__(self, status: Connection) -> None:
        # Receives the process id, then the exit code; its end means that the process died, even without a server.
        self._status = status
        self._pid = 0
        self.exitcode: int | None = None

    @property
    def pid(self) -> int:
        """Its process id; 0 if it was not started."""
        if not self._pid and self.exitcode is None:
            with suppress(EOFError, OSError):
                self._pid = self._status.recv()
        return self._pid

    def kill(self) -> None:
        """Kill it; join() waits until it has ended."""
        # Once it is reaped there is a status to read, and its process id may belong to another process.
        if self.pid and self.exitcode is None and not self._status.poll():
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def join(self, timeout: float | None = None) -> None:
        """Wait for its end."""
        if self.exitcode is None and (not self.pid or self._status.poll(timeout)):
            self.exitcode = -signal.SIGKILL if self.pid else NOT_STARTED
            with suppress(EOFError, OSError):
                self.exitcode = self._status.recv()
            self._status.close()


class ForkServer:
    """The server of this process.

    Raises:
        UserError: it cannot be started.
    """

    def __init__(self) -> None:
        self.owner = os.getpid()
        self._lock = threading.Lock()
        self._control, theirs = socket.socketpair()
        # The server finds packages where this process does.
        code = CODE.format(path=sys.path, control=theirs.fileno())
        with theirs, _blocked():
            try:
                self._server = subprocess.Popen(
                    [sys.executable, "-c", code],
                    stdin=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    env=os.environ | ENVIRONMENT,
                )
            except OSError as error:
                raise UserError(
                    f"data-loading workers cannot be started ({error.strerror}); set DATA_LOADER.NUM_WORKERS 0"
                ) from error
        atexit.register(self.close)

    def start(self, work: int, files: Sequence[int]) -> Process:
        """Start a process: `function(files, *args)` of packed work, with copies of these open files.

        Raises:
            OSError: the server has died.
        """
        assert len(files) + 2 <= MAX_FILES
        status, reported = Pipe(duplex=False)
        with reported, self._lock:
            socket.send_fds(self._control, [b"."], [reported.fileno(), work, *files])
        return Process(status)

    def close(self) -> None:
        """Stop the server; processes that it has forked keep running."""
        atexit.unregister(self.close)
        if self.owner == os.getpid():
            self._server.kill()
            self._server.wait()
        self._control.close()


_server: ForkServer | None = None
_serving = False


def warm_up() -> ForkServer:
    """This process's server, started if need be; its imports run in the background."""
    global _server
    if _serving:
        raise UserError(
            "a data-loading worker imports the script that was started, which loads data again; put the script's code "
            'under if __name__ == "__main__":'
        )
    if _server is None or _server.owner != os.getpid():
        _server = ForkServer()
    return _server


def start(work: int, files: Sequence[int]) -> Process:
    """ForkServer.start, with a new server if the last one was killed."""
    try:
        return warm_up().start(work, files)
    except OSError:
        restart()
        return warm_up().start(work, files)


def restart() -> None:
    """Start a new server the next time."""
    global _server
    if _server is not None:
        _server.close()
    _server = None


def pack(function: Callable[..., None], *args: Any) -> int:
    """A function and its arguments for start(), as a file descriptor of shared memory; arrays in it are not copied.

    Raises:
        UserError: they cannot be pickled.
    """
    arrays: list[pickle.PickleBuffer] = []
    try:
        text = pickle.dumps((function, args), protocol=5, buffer_callback=arrays.append)
        main = _main_module() if b"__main__" in text else {}
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise UserError(
            f"the dataset cannot be sent to data-loading workers ({first_line(error)}); define its classes and functions in "
            "a module, or set DATA_LOADER.NUM_WORKERS 0"
        ) from error
    context = pickle.dumps({"sys_path": sys.path, "sys_argv": sys.argv, "dir": os.getcwd(), **main})
    parts = [memoryview(context), memoryview(text), *(part.raw() for part in arrays)]
    sizes = array.array("Q", [len(parts), *(part.nbytes for part in parts)])
    spans = list(_spans(sizes[1:], len(sizes.tobytes())))
    file = shared_file(spans[-1].stop)
    with mmap.mmap(file, 0) as memory:
        memory[: len(sizes.tobytes())] = sizes.tobytes()
        for span, part in zip(spans, parts, strict=True):
            memory[span] = part
    return file


def shared_file(size: int) -> int:
    """File descriptor of `size` bytes in memory, without a name and not limited by the size of /dev/shm.

    On systems without such files it is a temporary file on disk.

    Raises:
        UserError: it cannot be allocated.
    """
    file = _memory_file()
    try:
        if file is None:
            with tempfile.TemporaryFile() as named:
                file = os.dup(named.fileno())
            if hasattr(os, "posix_fallocate"):  # otherwise a full disk would later end the process
                os.posix_fallocate(file, 0, size)
        os.ftruncate(file, size)
    except OSError as error:
        raise UserError(
            f"cannot allocate {size} bytes shared by data-loading workers ({error.strerror}); lower the batch size or "
            "DATA_LOADER.NUM_WORKERS, or set TMPDIR to a disk with free space"
        ) from error
    return file


def _memory_file() -> int | None:
    # A Python built for an old libc lacks it; the installed libc may have it.
    name = "memfd_create"
    with suppress(OSError, AttributeError):
        create = getattr(os, name, None) or getattr(ctypes.CDLL(None), name)
        file = create(b"transm3e", 1)  # closed on exec
        return file if file >= 0 else None
    return None


def _main_module() -> dict[str, str]:
    """How to import the script that was started, for classes defined in it."""
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return {"init_main_from_name": spec.name}
    if not getattr(main, "__file__", None):
        raise AttributeError("it is defined in a notebook or at the prompt")
    return {"init_main_from_path": os.path.abspath(str(main.__file__))}


def _spans(sizes: Sequence[int], start: int) -> Iterator[slice]:
    for size in sizes:
        start += -start % ALIGNED
        yield slice(start, start := start + size)


def _unpack(file: int) -> tuple[Callable[..., None], tuple[Any, ...]]:
    # Pages that a process writes to are copied for it alone.
    memory = memoryview(mmap.mmap(file, 0, access=mmap.ACCESS_COPY))
    count = memory[:8].cast("Q")[0]
    sizes = memory[8 : 8 + 8 * count].cast("Q")
    context, text, *arrays = [memory[span] for span in _spans(sizes.tolist(), 8 + 8 * count)]
    spawn.prepare(pickle.loads(context))
    function, args = pickle.loads(text, buffers=arrays)
    return function, args


@contextmanager
def _blocked() -> Iterator[None]:
    """Block the client's signals; a process started meanwhile inherits this until it can ignore them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, CLIENT_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def serve(control: int) -> None:
    """The server's main loop, until its client has died."""
    global _serving
    _serving = True
    for number in CLIENT_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, CLIENT_SIGNALS)
    wake, woken = os.pipe()
    os.set_blocking(woken, False)
    signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    gc.collect()
    gc.freeze()  # garbage collection would copy shared pages
    children: dict[int, Connection] = {}
    parent = os.getppid()
    with socket.socket(fileno=control) as client:
        while os.getppid() == parent:
            ready, _, _ = select.select([client.fileno(), wake], [], [], CLIENT_CHECK_S)
            if wake in ready:
                os.read(wake, 4096)
                _reap(children)
            if client.fileno() in ready:
                word, files, _, _ = socket.recv_fds(client, 1, MAX_FILES)
                if not word:
                    return
                _fork(files, children, [client.fileno(), wake, woken])


def _reap(children: dict[int, Connection]) -> None:
    while children:
        pid, code = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        with children.pop(pid) as status, suppress(OSError):  # the client no longer listens
            status.send(os.waitstatus_to_exitcode(code))


def _fork(files: list[int], children: dict[int, Connection], own: list[int]) -> None:
    status = Connection(files[0], readable=False)
    try:
        pid = os.fork()
    except OSError as error:
        print(f"a data-loading worker cannot be started: {error.strerror}", file=sys.stderr)
        status.close()
    else:
        if not pid:
            for other in children.values():
                other.close()
            _run(files[1:], own)
        children[pid] = status
        with suppress(OSError):
            status.send(pid)
    for file in files[1:]:
        os.close(file)


def _run(files: list[int], servers: list[int]) -> None:
    """Main function of a forked process; does not return."""
    code = FAILED
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for file in servers:
            os.close(file)
        function, args = _unpack(files[0])
        function(files[1:], *args)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
