"""AI-Hub's exports: small files of our own in the shapes of its data sets, zipped and in folders as they are downloaded."""

import json
import zipfile

import pytest

from blossom.assets import aihub
from blossom.assets.registry import fetch_asset
from blossom.instructions.readers import read_instructions, read_translations
from blossom.text.corpus import read_corpus, read_documents

WEB = {
    "SJML": {
        "text": [{"title": "날씨", "content": "오늘은 맑다.\n바람이 분다."}, {"title": "", "content": ["비가", "온다."]}]
    }
}
ENTITIES = {
    "named_entity": [{"title": [{"sentence": "제목이다."}], "content": [{"sentence": "첫째."}, {"sentence": "둘째."}]}]
}
SUMMARIES = {
    "documents": [{"title": "회의", "text": [[{"index": 0, "sentence": "회의를 했다."}], [{"sentence": "끝났다."}]]}]
}
READING = {"data": [{"doc_title": "서울", "paragraphs": [{"context": "서울은 수도다.", "qas": []}]}]}
TRANSLATION = {
    "data": [{"sn": "1", "ko": "안녕하세요.", "en": "Hello."}, {"sn": "2", "ko": "비가  온다.", "en": "It\trains."}]
}


@pytest.fixture
def export(tmp_path):
    """A folder as AI-Hub's downloader leaves it: zips below Training and Validation, one file unpacked."""
    inside = {
        "1.Training/원천데이터/TS1.zip": WEB,
        "1.Training/라벨링데이터/TL1.zip": ENTITIES,
        "2.Validation/VS1.zip": READING,
    }
    for name, content in inside.items():
        file = tmp_path / "624.웹/01.데이터" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("가/1.json", json.dumps(content, ensure_ascii=False))
            archive.writestr("가/읽어보세요.hwp", b"not read")
    (tmp_path / "97.json").write_text(json.dumps(SUMMARIES, ensure_ascii=False), encoding="utf-8-sig")
    return tmp_path


def test_every_shape_is_read_as_documents_title_first(export):
    found = list(read_documents(str(export)))
    assert set(found) == {
        "날씨 오늘은 맑다. 바람이 분다.",
        "비가 온다.",
        "제목이다. 첫째. 둘째.",
        "회의 회의를 했다. 끝났다.",
        "서울 서울은 수도다.",
    }
    assert found == list(read_documents(str(export)))


def test_a_corpus_mixes_exports_with_other_files(export, smoke):
    p = smoke("03_bilingual_pretraining", korean_texts=["smoke-ko", str(export)])
    loaded = read_corpus(p)
    assert (
        len(loaded.sources["korean"][str(export)]) + len(set(loaded.heldout_korean) & set(read_documents(str(export)))) == 5
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"answers": [1]}', r"a.json: expected SJML.text, .*; found 'answers'"),
        (b'[{"question": "?"}]', r"a.json: expected SJML.text, .*; found a row with 'question'"),
        (b"{", r"a.json: not valid JSON"),
        ("가".encode("cp949"), r"a.json: not UTF-8 .*CP949"),
    ],
)
def test_what_is_no_export_is_named(content, message, tmp_path):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        list(read_documents(str(tmp_path)))


def test_a_download_that_was_not_joined_is_explained(export):
    whole = next(export.rglob("TS1.zip"))
    whole.write_bytes(whole.read_bytes()[:-40])
    with pytest.raises(ValueError, match=r"TS1.zip: not a whole zip file .*join the downloaded parts"):
        list(read_documents(str(export)))


def test_a_folder_without_exports_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"holds no .json and no .zip"):
        list(aihub.pairs(tmp_path))


def test_translations_become_the_pairs_that_paper_x_trains_on_and_others_that_it_is_tested_on(tmp_path, capsys):
    many = [{"ko": f"{n}번째 문장이다.", "en": f"This is sentence {n}."} for n in range(50)]
    (tmp_path / "71265.json").write_text(json.dumps({"data": TRANSLATION["data"] + many + many}), encoding="utf-8")
    target = tmp_path / "x" / "en_ko.tsv"
    aihub.main([str(tmp_path / "71265.json"), str(target), "--rows", "30", "--heldout", "10"])
    trained, tested = (
        f.read_text(encoding="utf-8").splitlines() for f in (target, tmp_path / "x/en_ko_test/translation.tsv")
    )
    assert (len(trained), len(tested)) == (30, 10) and not set(trained) & set(tested)
    assert str(target) in capsys.readouterr().out
    examples = read_translations([str(target)])
    assert len(examples) == 30 and examples[0].task == "translation"
    assert ("It rains.", "비가 온다.") in set(aihub.pairs(tmp_path / "71265.json"))
    with pytest.raises(ValueError, match="52 different pairs, fewer than rows 60 and heldout 10"):
        aihub.write_pairs(tmp_path / "71265.json", target, 60, 10)


def test_a_row_without_a_side_is_named(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"data": [{"ko": "하나", "en": ""}]}), encoding="utf-8")
    with pytest.raises(ValueError, match=r"a.json, row 1: expected text in 'en' and 'ko', found 'ko', 'en'"):
        list(aihub.pairs(tmp_path))


# ------------------------------------------------------------------------------ the hub: Wikipedia, and what is gated


def test_a_wikipedia_dump_is_read_as_datasets_serves_it_without_being_held_in_memory(tmp_path, monkeypatch):
    """The hub is not in reach of tests: parquet of the dump's own columns stands for it."""
    import datasets

    rows = [
        {"id": str(n), "url": f"https://ko.wikipedia.org/{n}", "title": f"{n}", "text": f"문서 {n}\n\n둘째 문단"}
        for n in range(30)
    ]
    datasets.Dataset.from_list(rows).to_parquet(tmp_path / "train-00000-of-00001.parquet")
    asked = []

    def serve(name, config=None, split=None, **more):
        asked.append((name, config, split))
        return datasets.Dataset.from_parquet(
            str(tmp_path / "train-00000-of-00001.parquet"), cache_dir=str(tmp_path / "cache")
        )

    monkeypatch.setattr(datasets, "load_dataset", serve)
    found = read_documents("hub:wikimedia/wikipedia:20231101.ko")
    assert next(found) == "문서 0 둘째 문단" and len(list(found)) == 29
    assert asked == [("wikimedia/wikipedia", "20231101.ko", "train")]


def test_a_corpus_is_never_held_whole_in_memory(tmp_path, smoke):
    import tracemalloc

    file = tmp_path / "large.txt"
    names = [f"{chr(0xAC00 + n)}{chr(0xD7A3 - n)}" for n in range(1000)]
    file.write_text("".join(f"{name} " + "긴 문장이다 " * 100 + "\n" for name in names), encoding="utf-8")
    p = smoke("03_bilingual_pretraining", korean_texts=[str(file)])
    read_corpus(p)  # imports
    tracemalloc.start()
    characters = sum(map(len, read_corpus(p).korean))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert characters > 6e5 and file.stat().st_size > 1.6e6
    assert peak < 6e5


def test_a_gated_model_says_how_to_ask_for_it(monkeypatch):
    import httpx
    import huggingface_hub
    from huggingface_hub.errors import GatedRepoError

    def refuse(*words, **more):
        raise GatedRepoError(
            "403 Client Error. Access to model meta-llama/Llama-2-13b-chat-hf is restricted",
            response=httpx.Response(403, request=httpx.Request("GET", "https://huggingface.co")),
        )

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    message = (
        r"meta-llama/Llama-2-13b-chat-hf is gated: ask for access on https://huggingface.co/meta-llama/.*`hf auth login`"
    )
    with pytest.raises(RuntimeError, match=message):
        fetch_asset("meta-llama/Llama-2-13b-chat-hf")


@pytest.mark.parametrize("read", [read_documents, lambda source: read_instructions(source, "en")])
def test_a_gated_data_set_says_how_to_ask_for_it(read, monkeypatch):
    import datasets

    def refuse(name, *words, **more):
        raise datasets.exceptions.DatasetNotFoundError(f"Dataset '{name}' is a gated dataset on the Hub.")

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    with pytest.raises(
        ValueError, match=r"hub:GAIR/lima.*gated: ask for access on https://huggingface.co/datasets/GAIR/lima"
    ):
        list(read("hub:GAIR/lima"))
