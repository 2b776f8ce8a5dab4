import io
import struct
import tarfile
import threading
import zipfile

import pytest

from lightning_vae.data.archives import unpack

FILES = {"a/one.txt": b"one", "a/b/two.txt": b"two" * 1000, "three.txt": b""}
LIMIT = 10_000


def make_zip(path, files, **links):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/", "")
        for name, content in files.items():
            archive.writestr(name, content)
        for name, target in links.items():
            info = zipfile.ZipInfo(name)
            info.create_system, info.external_attr = 3, 0o120777 << 16
            archive.writestr(info, target)
    return path


def make_tar(path, files, members=()):
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for info in members:
            archive.addfile(info)
    return path


def make(path, files):
    return (make_zip if path.suffix == ".zip" else make_tar)(path, files)


def tree(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def left_behind(folder):
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


KINDS = ["x.zip", "x.tar", "x.tar.gz"]


@pytest.mark.parametrize("name", KINDS)
def test_what_was_packed_comes_out(tmp_path, name):
    unpack(make(tmp_path / name, FILES), tmp_path / "new" / "out", LIMIT)
    assert tree(tmp_path / "new" / "out") == FILES
    assert left_behind(tmp_path / "new") == ["out"]


def test_a_folder_that_is_there_is_left(tmp_path):
    archive = make(tmp_path / "x.zip", FILES)
    (tmp_path / "out").mkdir()
    unpack(archive, tmp_path / "out", LIMIT)
    assert tree(tmp_path / "out") == {}


ESCAPES = [
    "../evil",
    "a/../../evil",
    "/evil",
    "\\evil",
    "a\\..\\..\\evil",
    "C:/evil",
    "C:evil",
    "..",
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ESCAPES)
def test_no_name_leads_out(tmp_path, kind, name):
    archive = make(tmp_path / kind, {"good.txt": b"good", name: b"evil"})
    inner = tmp_path / "inner"
    with pytest.raises(ValueError, match=r"leads out of its folder: it is not unpacked"):
        unpack(archive, inner / "out", LIMIT)
    assert left_behind(inner) == []
    assert left_behind(tmp_path) == ["inner", kind]


def test_a_link_in_a_zip_is_refused(tmp_path):
    archive = make_zip(tmp_path / "x.zip", FILES, link="/etc/passwd")
    with pytest.raises(ValueError, match=r"has 'link', a link or a device"):
        unpack(archive, tmp_path / "out", LIMIT)
    assert left_behind(tmp_path) == ["x.zip"]


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE]
)
def test_a_link_or_a_device_in_a_tar_is_refused(tmp_path, kind):
    info = tarfile.TarInfo("link")
    info.type, info.linkname = kind, "a/one.txt"
    archive = make_tar(tmp_path / "x.tar", FILES, [info])
    with pytest.raises(ValueError, match=r"has 'link', a link or a device"):
        unpack(archive, tmp_path / "out", LIMIT)
    assert left_behind(tmp_path) == ["x.tar"]


@pytest.mark.parametrize("name", KINDS)
def test_more_bytes_than_allowed_are_refused(tmp_path, name):
    archive = make(tmp_path / name, FILES)
    total = sum(map(len, FILES.values()))
    with pytest.raises(ValueError, match=rf"over the limit of {total - 1:,}: it is not unpacked"):
        unpack(archive, tmp_path / "out", total - 1)
    assert left_behind(tmp_path) == [name]
    unpack(archive, tmp_path / "out", total)


def test_an_archive_that_lies_about_its_size_is_refused(tmp_path):
    path = make_zip(tmp_path / "x.zip", {"bomb": b"0" * 5_000_000})
    data = bytearray(path.read_bytes())
    # The size in both headers of the member, which deflate does not need.
    for signature, offset in ((b"PK\x01\x02", 24), (b"PK\x03\x04", 22)):
        start = data.rindex(signature)
        data[start + offset : start + offset + 4] = struct.pack("<I", 100)
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"x\.zip cannot be unpacked"):
        unpack(path, tmp_path / "out", LIMIT)
    assert left_behind(tmp_path) == ["x.zip"]


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("damage", ["cut", "torn", "text"])
def test_a_damaged_archive_is_named_and_leaves_nothing(tmp_path, name, damage):
    path = make(tmp_path / name, {"noise": bytes(range(256)) * 20})
    data = path.read_bytes()
    torn = bytearray(data)
    torn[80:120] = b"\xff" * 40
    if damage == "torn" and name == "x.tar":
        torn[148:156] = b"\xff" * 8  # the checksum of its header
    path.write_bytes({"cut": data[: len(data) // 2], "torn": bytes(torn), "text": b"text"}[damage])
    with pytest.raises(ValueError, match=r"x\.\S+ cannot be unpacked"):
        unpack(path, tmp_path / "out", LIMIT)
    assert left_behind(tmp_path) == [name]


def test_two_at_once_unpack_once(tmp_path):
    archive = make(tmp_path / "x.zip", FILES)
    threads = [
        threading.Thread(target=unpack, args=(archive, tmp_path / "out", LIMIT)) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert tree(tmp_path / "out") == FILES


def test_what_a_killed_process_left_is_cleared(tmp_path):
    (tmp_path / "out.part" / "old").mkdir(parents=True)
    unpack(make(tmp_path / "x.zip", FILES), tmp_path / "out", LIMIT)
    assert tree(tmp_path / "out") == FILES
    assert not (tmp_path / "out" / "old").exists()
