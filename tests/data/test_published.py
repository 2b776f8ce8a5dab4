import gzip
import hashlib

import pytest

from lightning_vae.data.published import Published

CONTENT = b"0 1 1 0\n" * 100
PACKED = gzip.compress(CONTENT, mtime=0)


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def published(**checksums):
    checksums = {name.replace("_", "."): value for name, value in checksums.items()}
    return Published(
        folders=("set", "set/raw"), mirrors=("http://127.0.0.1:9/",), checksums=checksums
    )


@pytest.mark.parametrize("below", [".", "set", "set/raw"])
@pytest.mark.parametrize(
    ("name", "content", "checksums"),
    [
        ("x.txt", CONTENT, {"x_txt": sha256(CONTENT)}),
        ("x.txt", CONTENT, {"x_txt": hashlib.md5(CONTENT).hexdigest()}),
        ("x.txt.gz", PACKED, {"x_txt_gz": sha256(PACKED)}),
        # Published as it is, gzipped since, by whatever program.
        ("x.txt.gz", gzip.compress(CONTENT, 1), {"x_txt": sha256(CONTENT)}),
    ],
    ids=["as published", "md5", "published gzipped", "gzipped since"],
)
def test_a_file_with_the_published_content_is_found(tmp_path, below, name, content, checksums):
    path = tmp_path / below / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    assert published(**checksums).verified(tmp_path, "x.txt").samefile(path)
    assert published(**checksums).download(tmp_path, "x.txt").samefile(path)


@pytest.mark.parametrize("name", ["x.txt", "x.txt.gz"])
def test_other_content_is_refused(tmp_path, name):
    content = CONTENT + b"1"
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    with pytest.raises(ValueError, match=r"x\.txt.* does not have the published SHA-256"):
        published(x_txt=sha256(CONTENT)).verified(tmp_path, "x.txt")


def test_a_missing_file_is_named_as_it_is_published(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"^x\.txt\.gz is neither in root="):
        published(x_txt_gz=sha256(PACKED)).verified(tmp_path, "x.txt")
    with pytest.raises(FileNotFoundError, match=r"^x\.txt is neither in root="):
        published(x_txt=sha256(CONTENT)).verified(tmp_path, "x.txt")


def test_a_failed_download_says_where_to_put_the_file(tmp_path):
    md5 = hashlib.md5(CONTENT).hexdigest()
    with pytest.raises(OSError, match=rf"put it at .*set.x\.txt \(MD5 {md5}\)"):
        published(x_txt=md5).download(tmp_path, "x.txt")
