"""Downloads from a server on this machine that can be told to misbehave."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from lightning_vae.data.download import download

CONTENT = np.random.default_rng(0).bytes(600_000)
CHECKSUM = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves CONTENT under /good, breaks off halfway under /breaks, and so on."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests = []

    def url(self, name):
        return f"http://127.0.0.1:{self.server_port}/{name}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        name, wanted = self.path[1:], self.headers["Range"]
        self.server.requests.append((name, wanted))
        start = int(wanted.split("=")[1].rstrip("-")) if wanted and name != "no-range" else 0
        content = b"something else" if name == "wrong" else CONTENT
        if name == "missing":
            self.send_error(404)
        elif start >= len(content):
            self.send_error(416)
        else:
            self.send(content[start:], 206 if start else 200, breaks=name == "breaks")

    def send(self, body, status, breaks):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if breaks else body)

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def files(folder):
    return {path.name for path in folder.iterdir() if path.suffix != ".lock"}


def test_file_is_complete_and_alone(server, tmp_path):
    path = tmp_path / "new" / "file.gz"
    download([server.url("good")], path, CHECKSUM)
    assert path.read_bytes() == CONTENT
    assert files(path.parent) == {"file.gz"}


def test_present_file_is_left_alone(server, tmp_path):
    path = tmp_path / "file.gz"
    path.write_bytes(b"mine")
    download([server.url("good")], path, CHECKSUM)
    assert path.read_bytes() == b"mine"
    assert server.requests == []


def test_goes_on_where_it_broke_off(server, tmp_path):
    path = tmp_path / "file.gz"
    with pytest.raises(OSError, match=r"connection broke after 300000 of 600000 bytes"):
        download([server.url("breaks")], path, CHECKSUM)
    assert files(tmp_path) == {"file.gz.part"}
    download([server.url("good")], path, CHECKSUM)
    assert path.read_bytes() == CONTENT
    assert server.requests == [("breaks", None), ("good", "bytes=300000-")]


def test_next_mirror_goes_on_with_the_part_of_the_last(server, tmp_path):
    path = tmp_path / "file.gz"
    download([server.url("breaks"), server.url("good")], path, CHECKSUM)
    assert path.read_bytes() == CONTENT
    assert server.requests[-1] == ("good", "bytes=300000-")


@pytest.mark.parametrize("first", ["missing", "wrong"])
def test_second_mirror_is_used(server, tmp_path, first):
    path = tmp_path / "file.gz"
    download([server.url(first), server.url("good")], path, CHECKSUM)
    assert path.read_bytes() == CONTENT
    assert [name for name, _ in server.requests] == [first, "good"]


def test_wrong_hash_leaves_nothing(server, tmp_path):
    with pytest.raises(OSError, match=r"does not have the SHA-256"):
        download([server.url("wrong")], tmp_path / "file.gz", CHECKSUM)
    assert files(tmp_path) == set()


@pytest.mark.parametrize("length", [10, 300_000, 600_000, 700_000])
@pytest.mark.parametrize("name", ["good", "no-range"])
def test_part_of_another_file_is_dropped(server, tmp_path, name, length):
    path = tmp_path / "file.gz"
    path.with_name("file.gz.part").write_bytes(b"x" * length)
    download([server.url(name)], path, CHECKSUM)
    assert path.read_bytes() == CONTENT


def test_server_without_ranges_sends_it_all_once(server, tmp_path):
    path = tmp_path / "file.gz"
    path.with_name("file.gz.part").write_bytes(CONTENT[:1000])
    download([server.url("no-range")], path, CHECKSUM)
    assert path.read_bytes() == CONTENT
    assert len(server.requests) == 1


def test_complete_part_needs_no_more_bytes(server, tmp_path):
    path = tmp_path / "file.gz"
    path.with_name("file.gz.part").write_bytes(CONTENT)
    download([server.url("good")], path, CHECKSUM)
    assert path.read_bytes() == CONTENT
    assert server.requests == [("good", "bytes=600000-")]


def test_error_says_what_was_tried_and_what_to_do(server, tmp_path):
    path = tmp_path / "file.gz"
    urls = [server.url("missing"), server.url("wrong"), "http://127.0.0.1:9/closed"]
    with pytest.raises(OSError, match=r"file.gz could not be downloaded") as error:
        download(urls, path, CHECKSUM)
    message = str(error.value)
    assert all(url in message for url in urls)
    assert "404" in message
    assert f"put it at {path} (SHA-256 {CHECKSUM})" in message


def test_two_at_once_make_one_transfer(server, tmp_path):
    path = tmp_path / "file.gz"
    arguments = ([server.url("good")], path, CHECKSUM)
    threads = [threading.Thread(target=download, args=arguments) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_bytes() == CONTENT
    assert server.requests == [("good", None)]
