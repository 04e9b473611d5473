import re
import tomllib
from pathlib import Path

import pytest
from pydantic import BaseModel

from schemas.config import (
    Config,
    PeerSection,
    PeerTlsSection,
)
from worker.operations.configuration import (
    ConfigurationError,
    load_config,
    load_settings,
    shown,
    sources,
)
from worker.operations.settings_text import table_in
from worker.operations.surroundings import devices, surroundings

ROOT = Path(__file__).parents[3]

PACS = """
[[peer]]
name = "pacs"
ae_title = "PACS"
port = 4242
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "config.toml"
    path.write_text(text, encoding="utf-8")
    return path


def faults_of(folder: Path, text: str, **environment: str) -> dict[str, str]:
    with pytest.raises(ConfigurationError) as caught:
        load_config(written(folder, text), environment=environment)
    return {fault.where: fault.what for fault in caught.value.faults}


def test_without_a_file_the_defaults_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    config = load_config(None, environment={})

    assert config.listener == Config().listener
    assert config.storage.root == tmp_path / "var"


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, "[listener]\nport = 104\n")

    config = load_config(
        path,
        environment={
            "BONEAGE_LISTENER__PORT": "11113",
            "BONEAGE_INFERENCE__DEVICES": '["cpu", "cuda:0"]',
            "BONEAGE_TEST_DATA": "not a setting",
        },
    )

    assert config.listener.port == 11113
    assert config.inference.devices == ("cpu", "cuda:0")


def test_relative_paths_are_taken_from_the_folder_of_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, '[storage]\nroot = "spool"\n[report]\nprofile = "site.toml"\n')

    config = load_config(path, environment={})

    assert config.storage.root == tmp_path / "spool"
    assert config.report.profile == tmp_path / "site.toml"


def test_all_errors_are_shown_at_once_each_with_its_line(tmp_path: Path) -> None:
    text = '[listener]\nprot = 104\n\n[log]\nlevel = "loud"\n[[peer]]\nname = "a"\nport = 0\n'

    faults = faults_of(tmp_path, text, BONEAGE_STORAGE__ROOTT="x")

    assert "did you mean 'port'?" in faults["line 2, listener.prot"]
    assert "'debug', 'info'" in faults["line 5, log.level"]
    assert "greater than or equal to 1" in faults["line 8, peer.1.port"]
    assert "needed" in faults["line 6, peer.1.ae_title"]
    assert "did you mean 'root'?" in faults["BONEAGE_STORAGE__ROOTT"]


def test_an_unknown_section_is_an_error(tmp_path: Path) -> None:
    assert "did you mean 'listener'?" in faults_of(tmp_path, "[listner]\n")["line 1, listner"]


def test_a_wrong_value_is_not_quoted(tmp_path: Path) -> None:
    faults = faults_of(tmp_path, '[database]\nurl = ["postgresql://me:secret@host/db"]\n')

    assert "secret" not in str(faults)


def test_a_file_that_is_not_toml_names_its_line(tmp_path: Path) -> None:
    assert "this is not TOML" in faults_of(tmp_path, "[listener]\nport 104\n")["line 2"]


def test_an_absent_file_is_an_error_and_not_the_defaults(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_config(tmp_path / "nowhere.toml", environment={})


def test_peers_cannot_be_set_in_the_environment(tmp_path: Path) -> None:
    assert (
        "in the file"
        in faults_of(tmp_path, PACS, BONEAGE_PEER__0__PORT="1")["BONEAGE_PEER__0__PORT"]
    )


def test_a_destination_that_no_peer_has_is_an_error(tmp_path: Path) -> None:
    faults = faults_of(tmp_path, PACS + 'destinations = ["archive"]\n')

    assert "known: pacs" in faults["line 6, peer.1.destinations"]


def test_two_destinations_with_one_ae_title_are_an_error(tmp_path: Path) -> None:
    faults = faults_of(tmp_path, PACS + PACS.replace('"pacs"', '"other"'))

    assert sorted(faults) == ["line 4, peer.1.ae_title", "line 9, peer.2.ae_title"]


def test_an_ae_title_with_a_backslash_is_an_error(tmp_path: Path) -> None:
    faults = faults_of(tmp_path, "[listener]\nae_title = 'A\\B'\n")

    assert "no backslash" in faults["line 2, listener.ae_title"]


def test_files_of_tls_are_taken_from_the_folder_of_the_file_too(tmp_path: Path) -> None:
    text = '[listener.tls]\nenabled = true\ncertificate = "c.pem"\nkey = "k.pem"\n'

    config = load_config(
        written(tmp_path, text + PACS + '[peer.tls]\nca = "ca.pem"\n'), environment={}
    )

    assert config.listener.tls.certificate == tmp_path / "c.pem"
    assert config.peer[0].tls == PeerTlsSection(ca=tmp_path / "ca.pem")


def test_tls_that_is_half_configured_is_an_error(tmp_path: Path) -> None:
    text = "[listener.tls]\nenabled = true\nmatch_ae_title = true\nport = 11112\n"

    faults = faults_of(tmp_path, text + PACS + '[peer.tls]\nkey = "k.pem"\n')

    assert "`certificate` and `key`" in faults["line 2, listener.tls.enabled"]
    assert "`client_ca`" in faults["line 3, listener.tls.match_ae_title"]
    assert "plain port" in faults["line 4, listener.tls.port"]
    assert "or neither" in faults["line 10, peer.1.tls"]


def explained_keys(text: str) -> dict[str, dict[str, bool]]:
    """Return, for each section, its keys and whether the key is in force or an example.

    A key counts only if a comment stands above it.
    """
    found: dict[str, dict[str, bool]] = {}
    section, comment = "", False
    for line in text.splitlines():
        bare = line.removeprefix("# ")
        if header := re.match(r"^\[\[?([\w.]+)\]\]?$", bare):
            section, comment = header[1], False
            found[section] = {}
        elif key := re.match(r"^(\w+) = ", bare):
            assert comment, f"no comment above {section}.{key[1]}"
            found[section][key[1]] = not line.startswith("#")
            comment = False
        else:
            comment = line.startswith("# ")
    return found


def tables_of(model: type[BaseModel], prefix: str = "") -> dict[str, set[str]]:
    """Return every table below ``model``, by its name in the file, with its plain keys."""
    found: dict[str, set[str]] = {}
    plain = set()
    for key, field in model.model_fields.items():
        inner = table_in(field.annotation)
        if inner is None:
            plain.add(key)
        else:
            found |= tables_of(inner, f"{prefix}{key}.")
    return found | ({prefix[:-1]: plain} if plain else {})


def test_config_toml_explains_every_key_of_the_model_and_no_other() -> None:
    text = (ROOT / "config.toml").read_text(encoding="utf-8")

    keys = explained_keys(text)

    assert {name: set(section) for name, section in keys.items()} == tables_of(Config)


def test_config_toml_states_the_defaults() -> None:
    text = (ROOT / "config.toml").read_text(encoding="utf-8")

    assert Config.model_validate(tomllib.loads(text)) == Config()


def test_the_examples_in_config_toml_are_valid_settings() -> None:
    text = (ROOT / "config.toml").read_text(encoding="utf-8")
    active = re.sub(r"(?m)^# (?=\[|\w+ = )", "", text)

    config = Config.model_validate(tomllib.loads(active))

    (peer,) = config.peer
    assert peer.model_copy(update={"tls": None}) == PeerSection(name="pacs", ae_title="PACS")
    assert peer.tls is not None
    assert set(config.listener.tls.model_dump()) == config.listener.tls.model_fields_set
    assert config.intake.rule[0].name == "bone age"


def test_errors_stand_in_the_order_of_the_lines(tmp_path: Path) -> None:
    text = '[log]\nlevel = "loud"\n' + "\n" * 10 + PACS + 'destinations = ["archive"]\n'

    faults = faults_of(tmp_path, text, BONEAGE_HTTP__PORT="x")

    assert list(faults) == [
        "line 2, log.level",
        "line 18, peer.1.destinations",
        "BONEAGE_HTTP__PORT",
    ]


def test_a_wrong_value_does_not_hide_a_contradiction_elsewhere(tmp_path: Path) -> None:
    text = '[log]\nlevel = "loud"\n[storage]\nlow_mark_percent = 99\n'

    assert sorted(faults_of(tmp_path, text)) == [
        "line 2, log.level",
        "line 4, storage.low_mark_percent",
    ]


def test_a_device_that_no_machine_has_is_an_error(tmp_path: Path) -> None:
    faults = faults_of(tmp_path, '[inference]\ndevices = ["gpu"]\n')

    assert '"cuda:"' in faults["line 2, inference.devices.1"]


def test_one_port_for_two_things_is_an_error(tmp_path: Path) -> None:
    text = "[listener]\nport = 8080\n[http]\nenabled = true\n" + PACS.replace("4242", "8080")

    faults = faults_of(tmp_path, text)

    assert "[listener]" in faults["line 3, http.port"]
    assert "our own listener" in faults["line 9, peer.1.port"]


def test_a_peer_cannot_take_the_place_of_the_constancy_check(tmp_path: Path) -> None:
    assert "constancy" in faults_of(tmp_path, PACS.replace('"pacs"', '"constancy"')).popitem()[1]


def test_half_a_mail_is_an_error(tmp_path: Path) -> None:
    faults = faults_of(tmp_path, '[notify.email]\nhost = "mail"\npassword = "x"\n')

    assert "nobody gets" in faults["line 1, notify.email.recipients"]
    assert "log in" in faults["line 1, notify.email.user"]


def test_a_secret_may_stand_in_a_file_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "hook").write_text("https://chat.example/hush\n")
    path = written(tmp_path, '[notify]\nwebhook_url_file = "hook"\n')

    settings = load_settings(path, environment={})

    assert settings.config.notify.webhook_url == "https://chat.example/hush"
    assert sources(settings)["notify.webhook_url"] == (f"config.toml, line 2: {tmp_path / 'hook'}")
    assert "hush" not in str(shown(settings.config))


def test_the_environment_may_name_the_file_of_a_secret(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("postgresql+psycopg://me:secret@host/db\n")
    path = written(tmp_path, '[database]\nurl = "sqlite:///x"\n')

    config = load_config(path, environment={"BONEAGE_DATABASE__URL_FILE": str(tmp_path / "url")})

    assert config.database.url.endswith("host/db")
    assert shown(config)["database"]["url"] == "postgresql+psycopg://me:***@host/db"


def test_a_secret_in_two_places_is_an_error(tmp_path: Path) -> None:
    text = '[database]\nurl = "sqlite:///x"\nurl_file = "y"\n'

    assert "keep one" in faults_of(tmp_path, text)["line 3, database.url_file"]


def test_a_secret_whose_file_is_gone_is_an_error(tmp_path: Path) -> None:
    faults = faults_of(tmp_path, '[database]\nurl_file = "nowhere"\n')

    assert "cannot be read" in faults["line 2, database.url_file"]


def test_every_value_says_where_it_comes_from(tmp_path: Path) -> None:
    path = written(tmp_path, "[listener]\nport = 104\n" + PACS)

    found = sources(load_settings(path, environment={"BONEAGE_LISTENER__HOST": "::1"}))

    assert found["listener.port"] == "config.toml, line 2"
    assert found["listener.host"] == "BONEAGE_LISTENER__HOST"
    assert found["listener.ae_title"] == "default"
    assert found["peer.1.ae_title"] == "config.toml, line 6"


def test_what_the_machine_does_not_have_is_an_error_with_its_line(tmp_path: Path) -> None:
    text = (
        '[inference]\nrelease = "nowhere"\n[report]\nprofile = "gone.toml"\n'
        '[storage]\nroot = "config.toml"\n[audit]\nkey_file = "short"\n'
    )
    (tmp_path / "short").write_text("x")

    with pytest.raises(ConfigurationError) as caught:
        load_settings(written(tmp_path, text), environment={}, machine=surroundings)

    faults = {fault.where: fault.what for fault in caught.value.faults}
    assert "nowhere" in faults["line 2, inference.release"]
    assert "cannot be read" in faults["line 4, report.profile"]
    assert "is a file" in faults["line 6, storage.root"]
    assert "less than 32 bytes" in faults["line 8, audit.key_file"]


def test_a_device_that_this_machine_lacks_is_an_error_with_its_line(tmp_path: Path) -> None:
    path = written(tmp_path, '[inference]\ndevices = ["cpu", "cuda:99"]\n')

    with pytest.raises(ConfigurationError, match=r"line 2, inference.devices.2: .*'cuda:99'"):
        load_settings(path, environment={}, machine=devices)
