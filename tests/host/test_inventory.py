"""Laws of the inventory of a fleet: what it takes, what it refuses, and how it says so."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from holter_host import (
    BadInputError,
    FleetDevice,
    Inventory,
    InventoryError,
    NothingSelectedError,
    load_inventory,
)

WARD = """
[defaults]
port = 6000
labels = { site = "a" }

[[device]]
name = "bed-1"
address = "127.0.0.1"
labels = { role = "canary" }

[[device]]
name = "bed-2"
address = "10.1.7.3:6001"
insecure = true

[[device]]
name = "bed-3"
address = "unix:/run/holter.sock"
[device.labels]
site = "b"
role = "test"
"""


@pytest.fixture
def load(tmp_path: Path):
    """Loads an inventory from its text."""

    def load(text: str) -> Inventory:
        path = tmp_path / "fleet.toml"
        path.write_text(text)
        return load_inventory(path)

    return load


def problems(error: InventoryError) -> list[tuple[int, str]]:
    """Lines and fields of what is wrong."""
    return [(problem.line, problem.field) for problem in error.problems]


class TestLoad:
    def test_devices_come_in_order_with_the_defaults(self, load) -> None:
        """Devices come in the file's order; defaults fill in what they do not say themselves."""
        assert load(WARD).devices == (
            FleetDevice("bed-1", "127.0.0.1:6000", {"site": "a", "role": "canary"}),
            FleetDevice("bed-2", "10.1.7.3:6001", {"site": "a"}),
            FleetDevice("bed-3", "unix:/run/holter.sock", {"site": "b", "role": "test"}),
        )

    def test_everything_wrong_is_told_at_once_with_line_and_field(self, load) -> None:
        """Every problem of a file is in one error, each with its line and its field."""
        with pytest.raises(InventoryError) as caught:
            load(
                "[defaults]\nprt = 1\nport = 70000\n"
                '[[device]]\nname = "a b"\naddress = "10.0.0.1"\nlables = {}\n'
                '[[device]]\nname = "b"\naddress = "127.0.0.1"\ninsecure = "yes"\n'
                '[[device]]\nname = "b"\naddress = "127.0.0.1:50051"\n'
                '[device.labels]\nname = "x"\nq = 3\n'
                '[[device]]\nadress = "x"\nname = 7\n'
                '[[device]]\nname = "c"\naddress = "host:port"\nlabels = { a = "x,y" }\n'
            )
        assert problems(caught.value) == [
            (2, "prt"),
            (3, "port"),
            (5, "name"),
            (6, "address"),
            (7, "lables"),
            (11, "insecure"),
            (13, "name"),
            (14, "address"),
            (15, "labels"),
            (15, "labels"),
            (18, "address"),
            (19, "adress"),
            (20, "name"),
            (23, "address"),
            (24, "labels"),
        ]
        text = str(caught.value)
        assert "line 7, lables: there is no such field; did you mean labels?" in text
        assert "line 13, name: 'b' is the name of line 9 too" in text
        assert "line 14, address: '127.0.0.1:50051' is the address of line 10 too" in text
        assert caught.value.exit_code == 2

    def test_a_message_tells_the_first_twenty(self, load) -> None:
        """A file full of problems does not fill the terminal; the error has them all."""
        with pytest.raises(InventoryError, match=r"and 30 more$") as caught:
            load("[[device]]\n" * 25)
        assert len(caught.value.problems) == 50
        assert str(caught.value).count("\n") == 21

    @pytest.mark.parametrize("text", ["", "[defaults]\nport = 1\n", "device = []\n", "# ward 3\n"])
    def test_an_inventory_without_a_device_is_refused(self, load, text: str) -> None:
        """An inventory has a device."""
        with pytest.raises(InventoryError, match=r"there is no \[\[device\]\]"):
            load(text)

    @pytest.mark.parametrize(
        ("text", "line"), [("a = \n", 1), ("[[device]]\nname = 'a'\nname = 'b'\n", 3), ("[x", 1)]
    )
    def test_what_is_no_toml_is_told_with_its_line(self, load, text: str, line: int) -> None:
        """An error of TOML's own has its line too."""
        with pytest.raises(InventoryError, match=f"line {line}: that is no TOML: ") as caught:
            load(text)
        assert "(at " not in str(caught.value)

    @pytest.mark.parametrize("text", ["device = 3\n", "device = [3]\n", "[device]\nname = 'a'\n"])
    def test_devices_are_tables(self, load, text: str) -> None:
        """A device in any other form is told how it is to be written."""
        with pytest.raises(InventoryError, match=r"\[\[device\]\]"):
            load(text)

    @pytest.mark.parametrize(
        ("address", "local"),
        [
            ("localhost:1", True),
            ("127.8.9.1", True),
            ("[::1]:50051", True),
            ("unix:/tmp/s", True),
            ("192.168.1.5", False),
            ("raspberrypi.local", False),
            ("127.0.0.1.example.org", False),
            ("[fe80::1%eth0]:50051", False),
        ],
    )
    def test_other_computers_need_the_word_insecure(self, load, address: str, local: bool) -> None:
        """Without encryption only loopback and Unix sockets go without saying."""
        text = f'[[device]]\nname = "a"\naddress = "{address}"\n'
        assert load(text + "insecure = true\n").devices[0].name == "a"
        if local:
            load(text)
        else:
            with pytest.raises(InventoryError, match="insecure = true"):
                load(text)

    def test_one_address_in_two_spellings_is_one(self, load) -> None:
        """The same address with and without its port, and a socket with two slashes, are one."""
        with pytest.raises(InventoryError) as caught:
            load(
                '[[device]]\nname = "a"\naddress = "localhost"\n'
                '[[device]]\nname = "b"\naddress = "LOCALHOST:50051"\n'
                '[[device]]\nname = "c"\naddress = "unix:/run/s"\n'
                '[[device]]\nname = "d"\naddress = "unix:///run/s"\n'
            )
        assert problems(caught.value) == [(6, "address"), (12, "address")]

    def test_a_table_in_a_string_is_no_table(self, load) -> None:
        """Lines are counted right where a string of several lines looks like tables."""
        with pytest.raises(InventoryError) as caught:
            load('[[device]]\nname = """\n[[device]]\nname = 3\n"""\n[[device]]\nname = 4\n')
        assert problems(caught.value) == [(1, "address"), (2, "name"), (6, "address"), (7, "name")]

    def test_what_cannot_be_read_is_told(self, tmp_path: Path) -> None:
        """A file that is not there, or no text, is one sentence."""
        with pytest.raises(BadInputError, match=r"No such file.*--inventory"):
            load_inventory(tmp_path / "fleet.toml")
        (tmp_path / "fleet.toml").write_bytes(b"\xff\xfe")
        with pytest.raises(BadInputError, match="UTF-8"):
            load_inventory(tmp_path / "fleet.toml")

    def test_ten_thousand_devices(self, load) -> None:
        """An inventory may be large; in one that is wrong all over, all of it is found."""
        entry = '[[device]]\nname = "d{0}"\naddress = "unix:/run/{0}"\nlabels = {{ n = "{0}" }}\n'
        text = "".join(map(entry.format, range(10_000)))
        inventory = load(text)
        assert len(inventory) == 10_000
        assert len(inventory.select("name=d12*")) == 111
        with pytest.raises(InventoryError) as caught:
            load(text + text.replace("labels", "label"))
        assert len(caught.value.problems) == 30_000
        assert problems(caught.value)[-1] == (80_000, "label")

    def test_inventories_and_their_errors_can_be_sent(self, load) -> None:
        """An inventory, and the error of one, go to another process and come back the same."""
        inventory = load(WARD)
        assert pickle.loads(pickle.dumps(inventory)) == inventory
        with pytest.raises(InventoryError) as caught:
            load("[[device]]\n")
        again = pickle.loads(pickle.dumps(caught.value))
        assert (str(again), again.problems) == (str(caught.value), caught.value.problems)


class TestSelect:
    @pytest.mark.parametrize(
        ("selectors", "names"),
        [
            (["site=a"], "bed-1 bed-2"),
            (["site=a,role!=canary"], "bed-2"),
            (["site=a", "role"], "bed-1"),
            (["!role"], "bed-2"),
            (["role!=test"], "bed-1 bed-2"),
            (["role=canary|test"], "bed-1 bed-3"),
            (["name=bed-3"], "bed-3"),
            (["name=bed-*,site!=b"], "bed-1 bed-2"),
            ([" site == b , role = test "], "bed-3"),
            ([], "bed-1 bed-2 bed-3"),
        ],
    )
    def test_all_conditions_hold(self, load, selectors: list[str], names: str) -> None:
        """A device is meant if every condition of every selector holds of it."""
        chosen = load(WARD).select(*selectors)
        assert [device.name for device in chosen.devices] == names.split()

    def test_nothing_is_an_error_of_its_own(self, load) -> None:
        """A selector that means nothing says which labels there are, and ends with 5."""
        with pytest.raises(
            NothingSelectedError, match=r"labels there are: name, role, site\."
        ) as e:
            load(WARD).select("sight=a")
        assert e.value.exit_code == 5

    @pytest.mark.parametrize("selector", ["", "site=", "=a", "site=a,,role", "!site=a", "si te=a"])
    def test_what_is_no_selector_is_refused(self, load, selector: str) -> None:
        """A condition that cannot be read is told, and how one looks."""
        with pytest.raises(BadInputError, match=r"as in site=a,role!=test"):
            load(WARD).select(selector)
