"""AI-Hub's exports: small files of our own in the shapes of its data sets, zipped and in folders as they are downloaded."""

import io
import json
import unicodedata
import zipfile

import openpyxl
import pytest

from blossom.assets import aihub
from blossom.instructions.readers import read_translations
from blossom.text.corpus import read_documents
from blossom.text.rows import read_rows
from tests.cases import read_cases

SHAPES = read_cases(__file__)
READERS = {"texts": read_documents, "pairs": aihub.read_aihub_pairs}


@pytest.fixture
def export(tmp_path):
    for name, content in SHAPES["zipped"].items():
        file = tmp_path / "624.웹/01.데이터" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("가/1.json", json.dumps(content, ensure_ascii=False))
            archive.writestr("가/읽어보세요.hwp", b"not read")
    (tmp_path / "97.json").write_text(json.dumps(SHAPES["plain"], ensure_ascii=False), encoding="utf-8-sig")
    return tmp_path


def test_every_shape_is_read_as_documents_title_first(export):
    found, again = (list(read_documents(str(export))) for _ in range(2))
    texts = {"날씨 오늘은 맑다. 바람이 분다.", "비가 온다.", "제목이다. 첫째. 둘째."}
    assert set(found) == texts | {"회의 했다. 끝났다.", "서울 서울은 수도다."} and found == again


@pytest.mark.parametrize(("reader", "content", "named"), SHAPES["wrong"])
def test_what_is_no_export_is_named(reader, content, named, tmp_path):
    (tmp_path / "a.json").write_text(content, encoding="cp949")
    with pytest.raises(ValueError, match=named):
        list(READERS[reader](str(tmp_path)))
    (tmp_path / "a.json").unlink()
    with pytest.raises(ValueError, match="no .json and no .zip|holds no text"):
        list(READERS[reader](str(tmp_path)))


def test_a_download_that_was_not_joined_is_explained(export):
    (whole := next(export.rglob("TS1.zip"))).write_bytes(whole.read_bytes()[:-40])
    with pytest.raises(ValueError, match=r"TS1.zip: not a whole zip file .*join"):
        list(read_documents(str(export)))


def test_translations_become_pairs_to_train_on_and_others_to_test_on(tmp_path, capsys):
    many = [{"ko": f'"{n}번째 문장이다."', "en": f'"This" is "{n % 25}".'} for n in range(50)]
    source, target = tmp_path / "71265.json", tmp_path / "x" / "en_ko.tsv"
    same = [{side: unicodedata.normalize("NFD", text) for side, text in pair.items()} for pair in many]
    source.write_text(json.dumps({"data": SHAPES["pairs"] + many + same}), encoding="utf-8")
    aihub.main([str(source), str(target), "--rows", "30", "--heldout", "10"])
    files = (target, tmp_path / "x/en_ko_test/translation.tsv")
    trained, tested = (f.read_text(encoding="utf-8").splitlines() for f in files)
    assert (len(trained), len(tested)) == (30, 10)
    assert not {line.split("\t")[0] for line in trained} & {line.split("\t")[0] for line in tested}
    read = {(e.messages[0]["input"], e.output) for e in read_translations(capsys.readouterr().out.split())}
    assert len(read) == 40 and read < set(aihub.read_aihub_pairs(source)) > {("It rains.", "비가 온다.")}
    with pytest.raises(ValueError, match="52 different pairs.*60.*10"):
        aihub.write_aihub_pairs(source, target, 60, 10)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_sheets_in_a_zip_file_are_read_and_what_macos_adds_is_not(tmp_path):
    book, inner, file = openpyxl.Workbook(), io.BytesIO(), tmp_path / "구어체.zip"
    for row in ([None], [None, "원문", "번역문"], [1, "비가 온다.", "It rains."], [], [2, "눈이 온다."], [3, "#NAME?"]):
        book.active.append(row)
    book.save(inner)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("가/1.XLSX", inner.getvalue())
        archive.writestr("가/1.XLSX", inner.getvalue())  # a second member of this name
        archive.writestr("__MACOSX/가/._1.xlsx", b"\x00")
    assert list(read_documents(str(tmp_path))) == ["비가 온다.", "눈이 온다."]
    assert next(aihub.read_aihub_pairs(tmp_path)) == ("It rains.", "비가 온다.")
    assert aihub.read_document({"원문": "It rains.", "번역문": "비가 온다."}, "") == "비가 온다.", "the original is English"
    assert list(next(read_rows(str(tmp_path)))[1])[0] == ""  # the name of pandas' index


@pytest.mark.parametrize("wrong", ["encrypted", "unpacks to 90,000 bytes", "holds no .json and no .xlsx file, but a.txt"])
def test_a_zip_file_that_is_not_opened_is_named(tmp_path, monkeypatch, wrong):
    monkeypatch.setattr(aihub, "UNPACKED", 80_000)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt" if "a.txt" in wrong else "a.json", " " * (90_000 if "unpacks" in wrong else 9))
    content = bytearray((tmp_path / "a.zip").read_bytes())
    content[content.index(b"PK\1\2") + 8] |= wrong == "encrypted"
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(ValueError, match=f"a.zip: .*{wrong}"):
        list(read_documents(str(tmp_path)))
