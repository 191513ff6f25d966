"""WebDataset shards: found by folder or pattern, split by name, read at random, indexed once, refused when damaged."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from netsuke.artifact.contract import Error
from netsuke.data import RandomResizedCrop, WebDataset, open_dataset, shard_order
from netsuke.data.shard import HEAD, SUFFIX, _keep, read_index

Files = list[tuple[str, bytes]]


def png(value: int, size: int = 4) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (size, size), (value, 0, 255 - value)).save(file, "png")
    return file.getvalue()


def samples(first: int, count: int) -> Files:
    """Image i is of colour i and label i % 5."""
    files: Files = []
    for i in range(first, first + count):
        files += [(f"{i:06d}.cls", str(i % 5).encode()), (f"{i:06d}.png", png(i)), (f"{i:06d}.json", b"{}")]
    return files


def write(path: Path, files: Files, form: int = tarfile.PAX_FORMAT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=form) as tar:
        for name, content in files:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def imagenet(root: Path) -> Path:
    """Three shards to train on, of 4, 3 and 5 images, and one of 2 to test."""
    for i, (first, count) in enumerate([(0, 4), (4, 3), (7, 5)]):
        write(root / f"train-{i:04d}.tar", samples(first, count))
    write(root / "val-0000.tar", samples(100, 2))
    return root


def colours(data: WebDataset | object) -> list[int]:
    return data.read(np.arange(len(data)))[0][:, 0, 0, 0].tolist()  # type: ignore[attr-defined, arg-type]


def test_the_split_is_in_the_name(tmp_path: Path) -> None:
    root = imagenet(tmp_path / "shards")
    train, test = open_dataset(f"webdataset:{root}", "train"), open_dataset(f"webdataset:{root}")
    assert colours(train) == list(range(12))
    assert colours(test) == [100, 101]
    assert train.labels.tolist() == [i % 5 for i in range(12)]
    assert (train.num_classes, train.name, train.decodes) == (5, "webdataset train", True)
    assert train.shard_sizes.tolist() == [4, 3, 5]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("names", "split", "expected"),
    [
        (["imagenet1k-train-00.tar", "imagenet1k-validation-00.tar"], "test", [1]),
        (["TRAIN_0.tar", "x.tar"], "train", [0]),
        (["train/0.tar", "valid/0.tar"], "test", [1]),
        (["constraint-0.tar", "trains-0.tar"], "test", [0, 1]),
        (["0.tar", "1.tar"], "train", [0, 1]),
    ],
)
def test_names_that_tell_a_split(tmp_path: Path, names: list[str], split: str, expected: list[int]) -> None:
    for i, name in enumerate(names):
        write(tmp_path / "shards" / name, samples(i, 1))
    assert sorted(colours(open_dataset(f"webdataset:{tmp_path}/shards", split))) == expected


def test_a_split_that_no_name_tells_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "train-0.tar", samples(0, 1))
    for path in (tmp_path, tmp_path / "train-{0..0}.tar"):
        with pytest.raises(Error, match="no shard at .* is of the test split"):
            open_dataset(f"webdataset:{path}")


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("train-{0000..0002}.tar", 12),
        ("train-{0001..0002}.tar", 8),
        ("train-000{0,2}.tar", 9),
        ("{train,val}-0000.tar", 4),
        ("train-*.tar", 12),
        ("*-000[01].tar", 7),
        ("tr{a,}in-000?.tar", None),
        ("train-0001.tar", 3),
    ],
)
def test_patterns(tmp_path: Path, pattern: str, expected: int | None) -> None:
    root = imagenet(tmp_path / "shards")
    if expected is None:
        with pytest.raises(Error, match=r"trin-000\?\.tar does not exist"):
            open_dataset(f"webdataset:{root}/{pattern}", "train")
    else:
        assert len(open_dataset(f"webdataset:{root}/{pattern}", "train")) == expected


@pytest.mark.parametrize(
    "pattern", ["{0..1", "0..1}.tar", "{3..1}.tar", "{0..99999999999}.tar", "{0..999}{0..999}.tar"]
)
def test_a_pattern_that_is_none_is_refused(tmp_path: Path, pattern: str) -> None:
    with pytest.raises(Error, match="is no pattern"):
        open_dataset(f"webdataset:{tmp_path}/{pattern}")


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    root = imagenet(tmp_path / "shards")
    with pytest.raises(Error, match=r"train-0003\.tar does not exist"):
        open_dataset(f"webdataset:{root}/train-{{0000..0005}}.tar", "train")


def test_classes_have_the_names_of_a_file(tmp_path: Path) -> None:
    root = imagenet(tmp_path / "shards")
    (root / "classes.txt").write_text("tench\ngreat white shark\nc\nd\ne\nf\n")
    assert open_dataset(f"webdataset:{root}").classes[1] == "great white shark"
    (root / "classes.txt").write_text("tench\n")
    with pytest.raises(Error, match="names 1 classes, but there is a label 4"):
        open_dataset(f"webdataset:{root}", "train")
    write(tmp_path / "other/train/0.tar", samples(0, 1))
    (tmp_path / "other/classes.txt").write_text("tench\n")
    assert open_dataset(f"webdataset:{tmp_path}/other", "train").classes == ("tench",)


def test_images_come_in_any_order_and_are_cut_by_their_seeds(tmp_path: Path) -> None:
    data = open_dataset(f"webdataset:{imagenet(tmp_path / 'shards')}", "train")
    images, labels = data.read(np.array([11, 0, 4, 4, 3]))
    assert images[:, 0, 0, 0].tolist() == [11, 0, 4, 4, 3]
    assert labels.tolist() == [1, 0, 4, 4, 3]
    assert data.read(np.array([1]), RandomResizedCrop(7), np.array([3]))[0].shape == (1, 3, 7, 7)


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("kind", ["png", "PNG", "jpg", "jpeg", "webp"])
def test_every_form_of_tar_and_image(tmp_path: Path, form: int, kind: str) -> None:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (50, 100, 150)).save(file, {"jpg": "jpeg"}.get(kind, kind))
    folder = "n01440764/" + "x" * 80 + "/"
    path = write(tmp_path / "0.tar", [(f"./{folder}a.b.{kind}", b"?"), (f"{folder}k.{kind}", file.getvalue())], form)
    with pytest.raises(Error, match="k' has no label"):
        open_dataset(f"webdataset:{path}")
    write(path, [(f"{folder}k.{kind}", file.getvalue()), (f"{folder}k.cls", b" 7\n")], form)
    images, labels = open_dataset(f"webdataset:{path}").read(np.array([0]))
    assert np.abs(images[0, :, 4, 4].astype(int) - [50, 100, 150]).max() < 4
    assert labels.tolist() == [7]


def test_shards_that_the_library_wrote_are_read(tmp_path: Path) -> None:
    library = pytest.importorskip("webdataset", reason="the webdataset package is not installed")
    with library.TarWriter(str(tmp_path / "x-000.tar")) as writer:
        for i in range(3):
            writer.write({"__key__": f"{i:05d}", "png": np.full((4, 4, 3), i / 255, np.float32), "cls": 2 - i})
    data = open_dataset(f"webdataset:{tmp_path}")
    assert colours(data) == [0, 1, 2]
    assert data.labels.tolist() == [2, 1, 0]


# The index that is kept beside a shard


def test_the_index_is_kept_and_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "0.tar", samples(0, 3))
    first = read_index(path)
    kept = Path(f"{path}{SUFFIX}")
    assert kept.stat().st_size == HEAD.size + 3 * 3 * 8
    monkeypatch.setattr("netsuke.data.shard._made", lambda _: pytest.fail("the index was made again"))
    assert np.array_equal(read_index(path), first)


def test_an_index_that_is_not_this_shards_is_made_again(tmp_path: Path) -> None:
    path = write(tmp_path / "0.tar", samples(0, 3))
    read_index(path)
    state = path.stat()
    write(path, samples(7, 4))
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    assert read_index(path)[2].tolist() == [2, 3, 4, 0]


@given(st.integers(0, 10_000), st.integers(0, 7), st.booleans())
def test_a_damaged_index_is_made_again(
    tmp_path_factory: pytest.TempPathFactory, place: int, bit: int, cut: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged" / "0.tar"
    if not path.exists():
        write(path, samples(0, 3))
    expected = read_index(path)
    kept = Path(f"{path}{SUFFIX}")
    data = bytearray(kept.read_bytes())
    place %= len(data)
    data[place] ^= 1 << bit
    kept.write_bytes(data[:place] if cut else data)
    assert np.array_equal(read_index(path), expected)


def test_an_index_that_points_outside_is_not_believed(tmp_path: Path) -> None:
    path = write(tmp_path / "0.tar", samples(0, 3))
    kept = Path(f"{path}{SUFFIX}")
    expected = read_index(path)
    for wrong in ([[-1, 0, 0]], [[0, 1 << 40, 0]], [[1 << 62, 1 << 62, 0]], [[0, 10, -1]]):
        _keep(path, path.stat(), np.array(wrong, np.int64).T)
        assert kept.is_file()
        assert np.array_equal(read_index(path), expected)


def test_a_folder_that_cannot_be_written_to_is_fine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "0.tar", samples(0, 3))

    def refuse(*_: object) -> None:
        raise Error("read-only")

    monkeypatch.setattr("netsuke.data.shard.write", refuse)
    assert read_index(path).shape == (3, 3)
    assert not Path(f"{path}{SUFFIX}").exists()


# Damaged shards


@given(st.integers(1, 400))
def test_a_shard_cut_short_is_refused(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = write(tmp_path_factory.getbasetemp() / "short" / "0.tar", samples(0, 5))
    used = 15 * 1024  # each of the 15 files takes a head and one block
    data = path.read_bytes()
    assert not any(data[used:])
    path.write_bytes(data[: max(1, used - cut * 37)])
    with pytest.raises(Error, match=r"0\.tar is no whole tar archive") as caught:
        open_dataset(f"webdataset:{path}")
    assert len(str(caught.value).splitlines()) <= 2


@pytest.mark.parametrize(
    ("files", "pattern"),
    [
        ([("a.png", b"")], "'a' has no label"),
        ([("a.cls", b"1")], "'a' has no image"),
        ([("a.png", b""), ("b.cls", b"1")], "'a' has no label"),
        ([("a.png", b""), ("a.cls", b"cat")], "a.cls holds b'cat'"),
        ([("a.png", b""), ("a.cls", b"-1")], "a.cls holds b'-1'"),
        ([("a.png", b""), ("a.cls", b"")], "a.cls holds b''"),
        ([("a.png", b""), ("a.cls", b"1" * 40)], "a label is a whole number"),
        ([("readme", b"hello")], "holds no samples"),
        ([], "holds no samples"),
    ],
)
def test_a_shard_without_whole_samples_is_refused(tmp_path: Path, files: Files, pattern: str) -> None:
    with pytest.raises(Error, match=pattern) as caught:
        open_dataset(f"webdataset:{write(tmp_path / '0.tar', files)}")
    assert len(str(caught.value).splitlines()) <= 2


@pytest.mark.parametrize("content", [b"", b"hello", b"hello" * 500, b"hello" * 100 + bytes(1024)])
def test_what_is_no_shard_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "0.tar").write_bytes(content)
    with pytest.raises(Error, match="0.tar is no whole tar archive"):
        open_dataset(f"webdataset:{tmp_path}")


def test_a_compressed_shard_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "0.tar", samples(0, 1))
    path.write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(Error, match="is compressed"):
        open_dataset(f"webdataset:{tmp_path}")


def test_an_image_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "0.tar", [*samples(0, 2), ("bad.png", b"hello"), ("bad.cls", b"0")])
    data = open_dataset(f"webdataset:{path}")
    with pytest.raises(Error, match=r"image 2 of .*0\.tar \(at byte \d+\) is not an image"):
        data.read(np.array([0, 2]))
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(Error, match=r"image 1 of .*cut short: 0\.tar has changed"):
        data.read(np.array([1]))
    path.unlink()
    with pytest.raises(Error, match="cannot be read"):
        data.read(np.array([0]))


def test_a_folder_without_shards_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Error, match=r"holds no \*\.tar"):
        open_dataset(f"webdataset:{tmp_path}")


# The order for slow storage


@given(st.lists(st.integers(1, 9), min_size=1, max_size=12), st.integers(1, 14), st.integers(0, 2**63 - 1))
def test_shard_order_is_a_permutation_that_uses_few_shards_at_a_time(sizes: list[int], group: int, seed: int) -> None:
    order = shard_order(np.array(sizes), group, seed)
    assert sorted(order.tolist()) == list(range(sum(sizes)))
    assert np.array_equal(order, shard_order(np.array(sizes), group, seed))
    shard_of = np.repeat(np.arange(len(sizes)), sizes)[order]
    place, left = 0, set(range(len(sizes)))
    while left:
        now = set()
        while place < len(order) and (shard_of[place] in now or len(now) < min(group, len(left))):
            now.add(shard_of[place])
            place += 1
        assert now <= left
        left -= now


def test_shard_order_shuffles_shards_and_images() -> None:
    sizes = np.array([3, 3, 3, 3])
    orders = np.array([shard_order(sizes, 2, seed) for seed in range(3000)])
    assert abs(orders[:, 0].mean() - 5.5) < 0.4  # standard error 0.06
    firsts = np.bincount(orders[:, 0], minlength=12)
    assert (np.abs(firsts - 250) < 5 * 250**0.5).all()
    assert len(np.unique(orders, axis=0)) > 2900
    assert shard_order(sizes, 2, 0).tolist() == shard_order(sizes, 2, 0).tolist()
    with pytest.raises(Error, match="1 shard or more"):
        shard_order(sizes, 0, 0)
