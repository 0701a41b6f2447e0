"""The list of packages in setup.cfg against the folders, and what a wheel would carry."""

import configparser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def setup():
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


def test_every_folder_with_modules_is_a_package_that_ships(setup):
    folders = {path.parent.relative_to(ROOT) for path in (ROOT / "tlresearch").rglob("*.py")}
    packages = set(setup["options"]["packages"].split())
    mapped = {"hydra_plugins.tlresearch", "tlresearch.conf", "tlresearch.contract", "tlresearch.sweeps"}
    assert packages == {".".join(folder.parts) for folder in folders} | mapped


def test_every_package_has_an_init_file(setup):
    mapped = dict(line.split(" = ") for line in setup["options"]["package_dir"].strip().splitlines())
    for package in setup["options"]["packages"].split():
        folder = mapped.get(package, package.replace(".", "/"))
        assert (ROOT / folder / "__init__.py").is_file(), folder


def test_what_the_tests_need_is_tested_in_known_versions(setup):
    constraints = (ROOT / "constraints.txt").read_text().splitlines()
    known = {line.split("==")[0].lower().replace("_", "-") for line in constraints}
    extras = setup["options.extras_require"]
    lines = [setup["options"]["install_requires"], *extras.values()]
    for name in (line for block in lines for line in block.split("\n") if line and not line.startswith("#")):
        assert name.split("[")[0].split(">")[0].split("<")[0].split("=")[0] in known, name
