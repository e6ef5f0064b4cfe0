"""What reaches the disk, and in which order: the calls that make bytes and names durable, written down.

A file that is renamed before its bytes are on disk may be empty after a power cut, and a name whose folder was not
written may be gone (fsync(2); Pillai et al. 2014, "All file systems are not created equal", section 4).
"""

import os


class Disk:
    """Everything that a test does to files below `root` from here on, a line a call, in order."""

    def __init__(self, monkeypatch, root):
        self.root, self.calls = root, []
        sync, unlink = os.fsync, os.unlink

        def fsync(descriptor):
            sync(descriptor)
            found = os.fstat(descriptor)
            self.calls.append(("sync", found.st_ino, found.st_size))

        def removing(path, **more):
            unlink(path, **more)
            self.calls.append(("unlink", path, None))

        def naming(real):
            def name(old, new):
                real(old, new)
                self.calls.append(("name", new, None))

            return name

        monkeypatch.setattr(os, "fsync", fsync)
        monkeypatch.setattr(os, "unlink", removing)
        monkeypatch.setattr(os, "replace", naming(os.replace))
        monkeypatch.setattr(os, "rename", naming(os.rename))

    def told(self):
        """The calls so far, files by the names that they have now: `sync a.bin 6` (bytes), `name a.bin`, `sync .`."""
        names = {path.stat().st_ino: path for path in [self.root, *self.root.rglob("*")]}
        return [" ".join(self.line(names, *call)) for call in self.calls]

    def line(self, names, what, which, size):
        """The words of one call."""
        path = names[which] if what == "sync" else which
        yield from (what, str(path.relative_to(self.root)))
        if size is not None and path.is_file():
            yield str(size)
