import gzip
import io
import re
import zipfile

import pytest

from blossom.assets import builders, registry, sources
from blossom.common import paths
from tests.cases import read_cases

WHEELS = read_cases(__file__)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("BLOSSOM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def wheel(folder, name, members):
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / name, "w") as archive:
        for member, data in members.items():
            archive.writestr(member, data)
    return folder / name


@pytest.fixture
def index(tmp_path, monkeypatch):
    for name, value in {"PIP_CONFIG_FILE": "/dev/null", "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": tmp_path / "index"}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    return wheel(tmp_path / "index", "pairs-1.0-py3-none-any.whl", WHEELS["pairs"])


def register(monkeypatch, source):
    def build(wheels, target):
        target.write_bytes(builders.read_member(wheels[0], r"text\.txt$"))

    monkeypatch.setitem(registry.REGISTRY, "for-test", registry.Asset("for this test", "CC0", (source,), build, ".txt"))


def test_a_wheel_is_fetched_once_checked_and_unpacked(cache, index, monkeypatch):
    register(monkeypatch, sources.Wheel("pairs", "1.0", paths.hash_path(index)))
    first = registry.fetch_asset("for-test")
    assert first.read_text(encoding="utf-8") == "안녕"
    index.unlink()
    assert registry.fetch_asset("for-test") == first, "the second time needs no index"
    assert not list((cache / "downloads").iterdir()), "the wheel itself is not kept"


def test_a_wrong_checksum_leaves_nothing_and_says_so_and_a_missing_member_is_named(cache, index, monkeypatch):
    register(monkeypatch, sources.Wheel("pairs", "1.0", "0" * 64))
    with pytest.raises(RuntimeError, match=f"pairs==1.0 with sha256 0{{64}}(.|\n)*{paths.hash_path(index)}"):
        registry.fetch_asset("for-test")
    assert not [*cache.rglob("*.whl"), *cache.glob("for-test*.txt")]
    with pytest.raises(RuntimeError, match="one member matching .*gguf"):
        builders.read_member(index, r"\.gguf$")


def test_a_file_of_the_assets_folder_comes_before_the_hub(tmp_path, monkeypatch):
    file = tmp_path / registry.REGISTRY["kobert"].in_folder
    file.parent.mkdir(parents=True)
    file.write_bytes(b"x")
    monkeypatch.setenv("BLOSSOM_ASSETS", str(tmp_path))
    assert registry.fetch_asset("kobert") == file and registry.fetch_asset(str(tmp_path)) == tmp_path


def test_every_asset_has_a_licence_and_a_pinned_or_shipped_source():
    for name, asset in registry.REGISTRY.items():
        assert asset.licence and asset.about, name
        assert all(re.fullmatch("[0-9a-f]{64}", w.sha256) for w in asset.wheels), name
        if asset.in_repository:
            assert registry.fetch_asset(name).stat().st_size > 1000
        else:
            assert asset.build or asset.hub_file, name


def test_pairs_of_sentences_come_from_json_and_from_catalogues(tmp_path, capsys):
    from babel.messages.catalog import Catalog
    from babel.messages.mofile import write_mo

    catalogue, stream = Catalog(locale="ko"), io.BytesIO()
    catalogue.add("Saves the file.", "파일을 모두 저장했습니다.")
    catalogue.add("Save file", "파일 저장")  # a fragment
    catalogue.add("OK", "OK")
    write_mo(stream, catalogue)
    home = wheel(tmp_path, "homeassistant-1-py3-none-any.whl", WHEELS["homeassistant"])
    other = wheel(tmp_path, "django-1-py3-none-any.whl", {"x/locale/ko/LC_MESSAGES/django.mo": stream.getvalue()})
    builders.aligned_pairs([home, other], tmp_path / "pairs.tsv")
    pairs = (tmp_path / "pairs.tsv").read_text(encoding="utf-8").splitlines()
    assert pairs == ["Turns on the lamp.\t전등 하나를 켭니다.", "Saves the file.\t파일을 모두 저장했습니다."]
    assert "2 pairs; 3 placeholders or code left out, 2 fragments left out" in capsys.readouterr().out
    builders.aligned_pairs([home], tmp_path / "ja.tsv", "ja")
    assert (tmp_path / "ja.tsv").read_text(encoding="utf-8") == "Turns on the lamp.\tランプをオンにします。\n"


def test_word_frequencies_are_unpacked_from_their_centibels(tmp_path):
    import msgpack

    packed = gzip.compress(msgpack.packb([{"format": "cB", "version": 1}, [], ["이"], ["그", "저"]]))
    made = wheel(tmp_path, "wordfreq-3.1.1-py3-none-any.whl", {"wordfreq/data/small_ko.msgpack.gz": packed})
    builders.word_frequencies([made], tmp_path / "words.tsv")
    rows = [line.split("\t") for line in (tmp_path / "words.tsv").read_text(encoding="utf-8").splitlines()]
    assert [r[0] for r in rows] == ["이", "그", "저"]
    assert float(rows[0][1]) == pytest.approx(10**-0.01, rel=1e-3)
