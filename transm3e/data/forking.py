"""Processes forked from a server that has no threads: to fork the training process, which has them, can hang.

(A forked process has a copy of every lock, but not of the threads that will free them; Python 3.12 warns of it.)
The server is an interpreter of its own that has imported what loading needs and does nothing else. So a process starts
within milliseconds at any time, also in the middle of a training, and all share the libraries' memory. What a process
is given lies in memory that all of them share, too. The server ends with the process that started it.
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

# These are for the training process: it decides what they mean, and its death ends the server.
LEFT_TO_CLIENT = [signal.SIGINT, signal.SIGTERM] + [
    getattr(signal, name) for name in ("SIGHUP", "SIGUSR1", "SIGUSR2") if hasattr(signal, name)
]
# Files that a process is given at most; the system's limit is 253.
MOST_FILES = 64
ALIGNED = 64
# Exit codes of a process that the system did not start, and of one whose work ended in an error.
NOT_STARTED, FAILED = 71, 70
# Seconds between two looks at whether the client still lives, should somebody else hold its end open.
CLIENT_EVERY_S = 2.0
# OpenBLAS starts its threads when it is imported.
ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1"}
CODE = "import sys; sys.path[:] = {path!r}; from transm3e.data.forking import serve; serve({control})"


class Process:
    """A process that the server has forked, or will as soon as it is up.

    Attributes:
        exitcode: None until join() has seen its end; -n = ended by signal n, SIGKILL also where nobody can tell, as the
            server was killed, too; NOT_STARTED; FAILED, with a traceback on standard error.
    """

    def __init__(self, status: Connection) -> None:
        # The process number, then the exit code; its end is the death of the process, even without a server.
        self._status = status
        self._pid = 0
        self.exitcode: int | None = None

    @property
    def pid(self) -> int:
        """Its number; 0 if it was not started."""
        if not self._pid and self.exitcode is None:
            with suppress(EOFError, OSError):
                self._pid = self._status.recv()
        return self._pid

    def kill(self) -> None:
        """End it at once; join() says when it has ended."""
        # What has been reaped has something to read, and its number may be another's.
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
        # Packages are found as they are here, wherever this process has them from.
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
                    f"data loading processes cannot be started ({error.strerror}); set DATA_LOADER.NUM_WORKERS 0"
                ) from error
        atexit.register(self.close)

    def start(self, work: int, files: Sequence[int]) -> Process:
        """Start a process: `function(files, *args)` of packed work, with copies of these open files.

        Raises:
            OSError: the server is no more.
        """
        assert len(files) + 2 <= MOST_FILES
        status, said = Pipe(duplex=False)
        with said, self._lock:
            socket.send_fds(self._control, [b"."], [said.fileno(), work, *files])
        return Process(status)

    def close(self) -> None:
        """End it; processes that it has forked live on."""
        atexit.unregister(self.close)
        if self.owner == os.getpid():
            self._server.kill()
            self._server.wait()
        self._control.close()


_server: ForkServer | None = None
_serving = False


def warm_up() -> ForkServer:
    """This process's server; what it imports it imports meanwhile."""
    global _server
    if _serving:
        raise UserError(
            "a data loading process imports the script that was started, which loads data again; put what the script "
            'does under if __name__ == "__main__":'
        )
    if _server is None or _server.owner != os.getpid():
        _server = ForkServer()
    return _server


def start(work: int, files: Sequence[int]) -> Process:
    """ForkServer.start, by another server if somebody has killed the last one."""
    try:
        return warm_up().start(work, files)
    except OSError:
        restart()
        return warm_up().start(work, files)


def restart() -> None:
    """Take another server the next time."""
    global _server
    if _server is not None:
        _server.close()
    _server = None


def pack(function: Callable[..., None], *args: Any) -> int:
    """Work for start(), as an open file in memory. Arrays lie in it as they are: all processes share them.

    Raises:
        UserError: another process cannot be told what to do.
    """
    arrays: list[pickle.PickleBuffer] = []
    try:
        text = pickle.dumps((function, args), protocol=5, buffer_callback=arrays.append)
        main = _main_module() if b"__main__" in text else {}
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise UserError(
            f"what is to be loaded cannot be sent to loading processes ({first_line(error)}); define classes and functions "
            "in a module, or set DATA_LOADER.NUM_WORKERS 0"
        ) from error
    place = pickle.dumps({"sys_path": sys.path, "sys_argv": sys.argv, "dir": os.getcwd(), **main})
    parts = [memoryview(place), memoryview(text), *(part.raw() for part in arrays)]
    sizes = array.array("Q", [len(parts), *(part.nbytes for part in parts)])
    spans = list(_spans(sizes[1:], len(sizes.tobytes())))
    file = shared_file(spans[-1].stop)
    with mmap.mmap(file, 0) as memory:
        memory[: len(sizes.tobytes())] = sizes.tobytes()
        for span, part in zip(spans, parts, strict=True):
            memory[span] = part
    return file


def shared_file(size: int) -> int:
    """An open file of `size` bytes in memory, which no name leads to and /dev/shm does not limit.

    On systems without such files it is a temporary one on disk.

    Raises:
        UserError: there is no room.
    """
    file = _memory_file()
    try:
        if file is None:
            with tempfile.TemporaryFile() as named:
                file = os.dup(named.fileno())
            if hasattr(os, "posix_fallocate"):  # a hole that cannot be filled later would end the process
                os.posix_fallocate(file, 0, size)
        os.ftruncate(file, size)
    except OSError as error:
        raise UserError(
            f"no room for {size} bytes that loading processes share ({error.strerror}); lower the batch size or "
            "DATA_LOADER.NUM_WORKERS, or set TMPDIR to a disk with room"
        ) from error
    return file


def _memory_file() -> int | None:
    # Python does not have it where it was built for an old libc; the libc that is here may.
    name = "memfd_create"
    with suppress(OSError, AttributeError):
        create = getattr(os, name, None) or getattr(ctypes.CDLL(None), name)
        file = create(b"transm3e", 1)  # closed when another program is executed
        return file if file >= 0 else None
    return None


def _main_module() -> dict[str, str]:
    """Where the script that was started is found, by which a class of it is."""
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
    # What is written to is copied for the writer.
    memory = memoryview(mmap.mmap(file, 0, access=mmap.ACCESS_COPY))
    count = memory[:8].cast("Q")[0]
    sizes = memory[8 : 8 + 8 * count].cast("Q")
    place, text, *arrays = [memory[span] for span in _spans(sizes.tolist(), 8 + 8 * count)]
    spawn.prepare(pickle.loads(place))
    function, args = pickle.loads(text, buffers=arrays)
    return function, args


@contextmanager
def _blocked() -> Iterator[None]:
    """Signals for the client wait meanwhile; a process that is started inherits that until it can ignore them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, LEFT_TO_CLIENT)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def serve(control: int) -> None:
    """What the server does until its client is no more."""
    global _serving
    _serving = True
    for number in LEFT_TO_CLIENT:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, LEFT_TO_CLIENT)
    wake, woken = os.pipe()
    os.set_blocking(woken, False)
    signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    gc.collect()
    gc.freeze()  # looking for garbage would make copies of pages
    children: dict[int, Connection] = {}
    parent = os.getppid()
    with socket.socket(fileno=control) as client:
        while os.getppid() == parent:
            ready, _, _ = select.select([client.fileno(), wake], [], [], CLIENT_EVERY_S)
            if wake in ready:
                os.read(wake, 4096)
                _reap(children)
            if client.fileno() in ready:
                word, files, _, _ = socket.recv_fds(client, 1, MOST_FILES)
                if not word:
                    return
                _fork(files, children, [client.fileno(), wake, woken])


def _reap(children: dict[int, Connection]) -> None:
    while children:
        pid, code = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        with children.pop(pid) as status, suppress(OSError):  # the client does not care any more
            status.send(os.waitstatus_to_exitcode(code))


def _fork(files: list[int], children: dict[int, Connection], own: list[int]) -> None:
    status = Connection(files[0], readable=False)
    try:
        pid = os.fork()
    except OSError as error:
        print(f"a data loading process cannot be started: {error.strerror}", file=sys.stderr)
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
    """The life of a forked process."""
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
