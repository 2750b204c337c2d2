"""The container file names what is there, and lets nobody be root; its style is hadolint's to judge (.ci/run)."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def instructions() -> list[tuple[str, str]]:
    """Name and rest of every instruction, lines that go on joined, comments left out."""
    lines = [line for line in (ROOT / "Dockerfile").read_text("utf-8").splitlines() if not line.strip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    parts = [line.split(maxsplit=1) for line in joined.splitlines() if line.strip()]
    return [(name.upper(), rest) for name, rest in parts]


def stages() -> dict[str, list[tuple[str, str]]]:
    """Instructions of each stage by its name, its FROM first."""
    found: dict[str, list[tuple[str, str]]] = {}
    for name, rest in instructions():
        if name == "FROM":
            base, _, stage = rest.partition(" AS ")
            found[stage] = [("FROM", base)]
        else:
            found[list(found)[-1]].append((name, rest))
    return found


def copied() -> set[str]:
    """Files and folders of the checkout that go into the image."""
    own = [rest for name, rest in instructions() if name == "COPY" and not rest.startswith("--from")]
    return {source for rest in own for source in rest.split()[:-1]}


def test_all_that_is_copied_is_there_and_goes_to_the_builder() -> None:
    let_through = {
        line[1:] for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line.startswith("!")
    }
    assert copied() == let_through
    assert all((ROOT / source).exists() for source in copied())


def test_every_package_and_the_readme_it_is_described_by_are_copied() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    folders = [line.split(" = ")[1] for line in config["options"]["package_dir"].strip().splitlines()]
    assert {folder.split("/")[0] for folder in folders} <= copied()
    assert config["metadata"]["long_description"].removeprefix("file: ") in copied()


@pytest.mark.parametrize("target", ["cpu", "cuda"])
def test_each_target_ends_as_somebody_who_is_not_root(target: str) -> None:
    name, rest = stages()[target][-1]
    assert name == "USER" and int(rest.split(":")[0]) > 0


def test_the_base_image_has_a_version_and_no_address_of_a_registry() -> None:
    own = set(stages())
    foreign = {body[0][1] for body in stages().values()} - own
    assert foreign and all(re.fullmatch(r"python:3\.\d+-slim-[a-z]+", image) for image in foreign)


def test_what_builds_does_not_stay() -> None:
    assert [rest for name, rest in instructions() if name == "COPY" and rest.startswith("--from")] == [
        "--from=build /venv /venv"
    ]
    assert all(name != "ADD" for name, _ in instructions())


def test_files_are_for_their_owner_alone_and_signals_reach_the_program() -> None:
    (entry,) = (rest for name, rest in instructions() if name == "ENTRYPOINT")
    assert "umask 077" in entry and "exec crackmap" in entry
