"""The served report: frames of the run at full size, to this machine, and nothing else."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import cv2
import numpy as np
import pytest
from faults import harness

from crackmap.calibration.errors import InputError
from crackmap.pipeline.viewing import ReportServer


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReportServer]:
    folder = tmp_path_factory.mktemp("view")
    survey = harness.draw_survey(folder / "survey", 3)
    (survey / "0002.png").rename(survey / "a b&<i>.png")
    harness.run(survey, folder / "out")
    with ReportServer(folder / "out") as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()


def asked(server: ReportServer, path: str, host: str = "127.0.0.1") -> tuple[int, str, bytes]:
    connection = http.client.HTTPConnection(*server.server_address[:2], timeout=20)  # type: ignore[misc]
    connection.request("GET", path, headers={"Host": f"{host}:{server.server_address[1]}"})
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, answer.getheader("Content-Type") or "", content


def test_the_report_says_that_it_is_served(server):
    status, kind, content = asked(server, "/")
    assert (status, kind) == (200, "text/html; charset=utf-8")
    assert b'data-served="1"' in content and b"Crack survey report" in content


def test_a_frame_is_shown_at_its_own_size_with_its_lines(server):
    status, kind, content = asked(server, "/image?key=0000.png")
    assert (status, kind) == (200, "image/jpeg")
    assert cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR).shape == (120, 160, 3)
    _, _, page = asked(server, "/frame?key=0000.png")
    assert page.count(b"<polyline") >= 1 and b'viewBox="0 0 160 120"' in page


def test_names_with_signs_of_html_stay_names(server):
    status, _, page = asked(server, f"/frame?key={quote('a b&<i>.png')}")
    assert status == 200 and b"a b&amp;&lt;i&gt;.png" in page and b"<i>" not in page
    assert asked(server, f"/image?key={quote('a b&<i>.png')}")[0] == 200


@pytest.mark.parametrize("path", [
    "/journal.sqlite", "/../survey/0000.png", "/image?key=../out/report.html", "/image", "/image?key=none.png",
    "/image?key=%2Fetc%2Fpasswd", "/frame?key=", "/masks/",
])  # fmt: skip
def test_nothing_but_frames_of_the_run_is_served(server, path):
    assert asked(server, path)[0] == 404


def test_other_hosts_are_refused(server):
    assert asked(server, "/", host="evil.example")[0] == 403
    assert asked(server, "/", host="localhost")[0] == 200
    assert server.server_address[0] == "127.0.0.1"


def test_a_frame_that_is_gone_says_so(server):
    path = server.path_of("0001.png")
    assert path is not None
    path.unlink()
    status, _, content = asked(server, "/image?key=0001.png")
    assert status == 404 and b"0001.png" in content


def test_a_folder_without_a_finished_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no finished run"):
        ReportServer(tmp_path)
