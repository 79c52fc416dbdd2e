"""Small valid files of every format, taken apart for `mutations`."""

import bz2
import gzip
import io
import json
import lzma
import pickle
import struct
import tarfile
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import published_files as published
import torch
from mutations import Seed
from PIL import Image

from flowzoo.files.flow import write_flow

FLOW = np.random.default_rng(0).normal(0, 9, (5, 6, 2)).astype(np.float32)
PICTURE = np.random.default_rng(1).integers(0, 256, (13, 17, 3), np.uint8)

# ---------------------------------------------------------------------------------------------- flow and images


def flow_file(folder: Path, suffix: str) -> bytes:
    path = folder / f"seed.{suffix}"
    write_flow(path, FLOW)
    return path.read_bytes()


def png(content: bytes) -> Seed:
    """Parts: the header, the pixels as they are before they are packed, and each other chunk."""
    chunks, place = [], 8
    while place < len(content):
        (length,) = struct.unpack(">I", content[place : place + 4])
        chunks.append((content[place + 4 : place + 8], content[place + 8 : place + 8 + length]))
        place += 12 + length
    pixels = zlib.decompress(b"".join(data for kind, data in chunks if kind == b"IDAT"))
    others = [(kind, data) for kind, data in chunks if kind not in (b"IDAT", b"IHDR")]
    parts = [chunks[0][1], pixels, *(kind + data for kind, data in others)]

    def build(parts: list[bytes]) -> bytes:
        head, pixels, *rest = parts
        written = [b"IHDR" + head, *rest[:-1], b"IDAT" + zlib.compress(pixels, 1), rest[-1]]
        return content[:8] + b"".join(
            struct.pack(">I", max(0, len(chunk) - 4)) + chunk + struct.pack(">I", zlib.crc32(chunk))
            for chunk in written
        )

    return Seed(parts, build, [b"IHDR", b"IDAT", b"tRNS", b"PLTE", b"IEND", b"acTL", b"iCCP", b"eXIf"])


def npy() -> Seed:
    def build(parts: list[bytes]) -> bytes:
        header, data = parts
        header += b" " * (-(len(header) + 11) % 64) + b"\n"
        return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header) % 65536) + header + data

    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (5, 6, 2), }"
    words = [
        b"(",
        b"[",
        b"{",
        b"-",
        b"'",
        b"'|O'",
        b"'<f8'",
        b"True",
        b"1j",
        b"lambda:0",
        b"#",
        b"\\",
        b"L",
        b"9" * 300,
    ]
    return Seed([header, FLOW.tobytes()], build, words)


def flo5() -> bytes:
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        file.create_dataset("flow", data=FLOW, compression="gzip")
    return stream.getvalue()


def saved(form: str, mode: str = "RGB", **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(PICTURE).convert(mode).save(stream, form, **options)
    return stream.getvalue()


def flow_seeds(folder: Path) -> dict[str, Seed]:
    return {
        "flo": Seed([flow_file(folder, "flo")], words=[b"PIEH"]),
        "pfm": Seed([b"PF\n6 5\n-1.0\n", FLOW.tobytes() + bytes(120)], words=[b"#", b"\n", b"-", b"e9", b".", b"Pf"]),
        "npy": npy(),
        "flo5": Seed([flo5()], words=[b"TREE", b"SNOD", b"HEAP", b"OHDR", b"flow", b"FRHP", b"BTHD"]),
        "kitti": png(flow_file(folder, "png")),
    }


def seq() -> Seed:
    """Parts: the header, and each frame, whose length fits."""

    def build(parts: list[bytes]) -> bytes:
        header, *frames = parts
        return header + b"".join(struct.pack("<I", len(frame) + 4) + frame + bytes(8) for frame in frames)

    header = (b"\xed\xfe\0\0" + "Norpix seq".encode("utf-16-le")).ljust(1024, b"\0")
    return Seed(
        [header, saved("JPEG"), saved("JPEG", progressive=True)], build, [b"\xff\xd8", b"\xff\xc0", b"\xff\xd9"]
    )


TIFF = [b"II*\0", b"MM\0*", struct.pack("<HHI", 0x103, 3, 1), struct.pack("<HHI", 0x153, 3, 3), b"\x0f\x01"]


def image_seeds() -> dict[str, Seed]:
    deep = np.arange(13 * 17, dtype=np.uint16).reshape(13, 17) * 250
    stream = io.BytesIO()
    Image.fromarray(deep).save(stream, "PNG")
    jpeg = [b"\xff\xd8", b"\xff\xc0", b"\xff\xc2", b"\xff\xc4", b"\xff\xda", b"\xff\xdb", b"\xff\xe1Exif", b"\xff\xd9"]
    return {
        "png": png(saved("PNG")),
        "png palette": png(saved("PNG", "P", transparency=bytes(range(256)))),
        "png grey 16": png(stream.getvalue()),
        "jpeg": Seed([saved("JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0")], words=jpeg),
        "jpeg progressive": Seed([saved("JPEG", progressive=True)], words=jpeg),
        "ppm": Seed(
            [b"P6\n17 13\n255\n", PICTURE.tobytes()], words=[b"P1", b"P4", b"P5", b"P7", b"Pf", b"#", b"65535"]
        ),
        "bmp": Seed([saved("BMP")], words=[b"BM", b"\x28\0\0\0"]),
        "tiff": Seed([saved("TIFF")], words=TIFF),
        "tiff lzw": Seed([saved("TIFF", compression="tiff_lzw")], words=TIFF),
        "tiff deflate": Seed([saved("TIFF", compression="tiff_deflate")], words=TIFF),
        "tiff jpeg": Seed([saved("TIFF", compression="jpeg")], words=TIFF),
        "tiff g4": Seed([saved("TIFF", "1", compression="group4")], words=TIFF),
        "webp": Seed([saved("WEBP")], words=[b"RIFF", b"VP8X", b"VP8L", b"VP8 ", b"ANIM", b"ANMF", b"ALPH"]),
        "webp lossless": Seed([saved("WEBP", lossless=True)], words=[b"VP8L", b"\x2f"]),
        "gif": Seed([saved("GIF")], words=[b"GIF89a", b"\x21\xf9\x04", b"\x2c", b"\x3b"]),
        "jp2": Seed([saved("JPEG2000")], words=[b"\xff\x51", b"\xff\x52", b"\xff\x5c", b"jp2h", b"ihdr", b"jp2c"]),
        "avif": Seed([saved("AVIF")], words=[b"ftyp", b"meta", b"iloc", b"iprp", b"ispe", b"mdat", b"avif", b"avis"]),
        "tga": Seed([saved("TGA", compression="tga_rle")], words=[b"TRUEVISION-XFILE"]),
    }


# ---------------------------------------------------------------------------------------------- weights

TENSORS = {"a.weight": torch.arange(24.0).reshape(2, 3, 2, 2), "a.bias": torch.tensor([1.5, -2.0]).half()}
TRAINING = {"state_dict": OrderedDict(TENSORS), "epoch": 3, "best": np.float64(0.5), "curve": np.arange(3), "name": "x"}
PICKLE = [
    *(b"(", b")", b"]", b"}", b".", b"0", b"2", b"t", b"\x85", b"\x86", b"\x87", b"N", b"\x88", b"R", b"b", b"s", b"u"),
    *(
        b"a",
        b"e",
        b"h\x00",
        b"h\x01",
        b"q\x00",
        b"\x94",
        b"\x81",
        b"Q",
        b"K\x01",
        b"M\xff\xff",
        b"J\xff\xff\xff\xff",
        b"l",
        b"d",
    ),
    *(b"\x8a\x08" + b"\xff" * 8, b"X\x01\0\0\0a", b"U\x01a", b"C\x04abcd", b"\x8c\x01a", b"\x93", b"o", b"1"),
    *(b"cnumpy\ndtype\n", b"cnumpy\nndarray\n", b"cnumpy._core.multiarray\nscalar\n", b"ccollections\nOrderedDict\n"),
    *(b"cnumpy._core.multiarray\n_reconstruct\n", b"ctorch\nFloatStorage\n", b"ctorch._utils\n_rebuild_tensor_v2\n"),
    *(b"cos\nsystem\n", b"cbuiltins\nlist\n", b"c_codecs\nencode\n", b"cargparse\nNamespace\n", b"}X\x01\0\0\0a)\x85s"),
]


def torch_zip(content: object) -> Seed:
    """Parts: the pickle, and each other member of the archive."""
    stream = io.BytesIO()
    torch.save(content, stream)
    with zipfile.ZipFile(stream) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    names = sorted(members, key=lambda name: not name.endswith("data.pkl"))

    def build(parts: list[bytes]) -> bytes:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            for name, data in zip(names, parts, strict=True):
                archive.writestr(name, data)
        return out.getvalue()

    return Seed([members[name] for name in names], build, PICKLE)


def torch_legacy() -> Seed:
    stream = io.BytesIO()
    torch.save(TRAINING, stream, _use_new_zipfile_serialization=False)
    return Seed([stream.getvalue()], words=PICKLE)


def safetensors(facts: dict[str, str] | None = None) -> Seed:
    header: dict[str, object] = {"__metadata__": facts} if facts else {}
    data, place = b"", 0
    for name, value in TENSORS.items():
        raw = value.numpy().tobytes()
        kind = {torch.float32: "F32", torch.float16: "F16"}[value.dtype]
        header[name] = {"dtype": kind, "shape": list(value.shape), "data_offsets": [place, place + len(raw)]}
        data, place = data + raw, place + len(raw)

    def build(parts: list[bytes]) -> bytes:
        text, numbers = parts
        return struct.pack("<Q", len(text)) + text + numbers

    return Seed([json.dumps(header).encode(), data], build, JSON)


JSON = [
    *(
        b"[",
        b"{",
        b"}",
        b"]",
        b'"',
        b",",
        b":",
        b"null",
        b"true",
        b"1e999",
        b"-1",
        b"NaN",
        b"\\u0000",
        b"\\ud800",
        b"0.5",
    ),
    *(b'"a":', b"[[", b'{"a":', b"9" * 400, b'"BF16"', b'"F8_E4M3"', b'"__metadata__"', b'"flowzoo"'),
]


def message(parts: list[bytes]) -> bytes:
    """A Caffe network of two layers whose lengths fit: parts are the blobs and names."""
    name, first, second, layer = parts
    one = published.field(1, layer) + published.field(7, first) + published.field(7, second)
    old = published.field(4, layer + b"2") + published.number_field(5, 4) + published.field(6, first)
    return published.field(1, name) + published.field(100, one) + published.field(2, old)


def caffe() -> Seed:
    blobs = [published.blob(np.ones((2, 3), "f4")), published.blob(np.ones(4, "f4"), legacy=True, packed=False)]
    words = [
        b"\x08\x01",
        b"\x2d",
        b"\x2a",
        b"\x3a\x03\x0a\x01\x06",
        b"\x40",
        b"\x42",
        b"\xff\xff\xff\xff\x0f",
        b"\x2d\0\0\0\0",
    ]
    return Seed([b"net", *blobs, b"conv"], message, words)


def tar(pack: Callable[[bytes], bytes], form: int) -> Seed:
    """Parts: the header's fields, what lies before the file, and the file; the header's checksum is right."""
    content = caffe().build(list(caffe().parts))
    info = tarfile.TarInfo("folder/net.caffemodel")
    info.size, info.mtime = len(content), 1.5
    header = info.tobuf(form)

    def build(parts: list[bytes]) -> bytes:
        extra, fields, data = parts
        block = bytearray(fields[:512].ljust(512, b"\0"))
        block[148:156] = b" " * 8
        block[148:156] = b"%06o\0 " % sum(block)
        whole = extra + bytes(block) + data
        return pack(whole + bytes(-len(whole) % 512) + bytes(1024))

    words = [
        b"\0",
        b"0",
        b"1",
        b"x",
        b"g",
        b"L",
        b"K",
        b"S",
        b"V",
        b"ustar\x0000",
        b"GNU.sparse.map=0,1",
        b"77777777777",
        b"\x80",
    ]
    words += [b"11 path=a\n", b"99999999999 path=a\n", b"20 size=99999999999\n", b".caffemodel"]
    return Seed([header[:-512], header[-512:], content], build, words)


def weight_seeds() -> dict[str, Seed]:
    own = json.dumps({"model": "spynet", "settings": {}, "licence": "MIT"})
    return {
        "torch zip": torch_zip(TRAINING),
        "torch zip flat": torch_zip({**TENSORS, "n": torch.zeros(0, 3)}),
        "torch legacy": torch_legacy(),
        "safetensors": safetensors(),
        "flowzoo": safetensors({"flowzoo": own}),
        "caffemodel": caffe(),
        "tar": tar(bytes, tarfile.USTAR_FORMAT),
        "tar gz": tar(lambda data: gzip.compress(data, 1), tarfile.GNU_FORMAT),
        "tar bz2": tar(bz2.compress, tarfile.PAX_FORMAT),
        "tar xz": tar(lambda data: lzma.compress(data, preset=0), tarfile.PAX_FORMAT),
    }


# ---------------------------------------------------------------------------------------------- lists and settings

TEXT = [
    b"#",
    b'"',
    b"'",
    b"\\",
    b",",
    b"\t",
    b" ",
    b"~",
    b"\xff\xfe",
    b"\xfe\xff",
    b"\xef\xbb\xbf",
    b"a.png",
    b"x" * 300,
]
TOML = [
    b"[",
    b"]",
    b"{",
    b"}",
    b"=",
    b'"',
    b"'''",
    b"[[stage]]\n",
    b"[all]\n",
    b"base = 1\n",
    b"nan",
    b"1e999",
    b"-1",
    b"\\u0000",
]
TOML += [b"1979-05-27", b"true", b"0x", b"9" * 300, b"inf", b"\n", b"a.b.c = 1\n"]


def pickled_lists() -> dict[str, Seed]:
    points = {name: np.arange(4.0) for name in ("Xs", "Ys", "Xt", "Yt")}
    plain = {name: [1.0, 2, 3] for name in points}
    images = {"source_image": "a.png", "target_image": "b.png"}
    entries = [images | points, images | plain]
    return {f"eth3d {protocol}": Seed([pickle.dumps(entries, protocol)], words=PICKLE) for protocol in (0, 2, 4)}


def text_seeds(repository: Path) -> dict[str, Seed]:
    presets = sorted((repository / "flowzoo" / "presets").glob("*.toml"))
    index = (repository / "weights" / "index.toml").read_bytes()
    rows = [
        b"scene,source_image,target_image,XA,YA,XB,YB\n",
        b"/,a.png,b.png,1;2,3;4,5;6,7;8\n",
        b"/,b.png,a.png,1,2,3,4\n",
    ]
    manifest = {"version": 1, "count": 2, "size": [8, 8], "seed": 1, "backward": False, "recipe": {"a": 1}}
    return {
        "pair list": Seed([b"a.png b.png a.flo\n", b'# x\n"a b.png"\tb.png\n', b"a.png,b.png\n"], words=TEXT),
        "clip list": Seed([b"00001/0266\n", b"00001/0268\r\n"], words=[*TEXT, b"../", b"/", b"\0", b"00001/0266\n"]),
        "preset": Seed([presets[0].read_bytes()], words=TOML),
        "preset with a base": Seed([b'base = "finetune"\n', b"[all]\nsteps = 5\n", b"[set]\nbatch = 2\n"], words=TOML),
        "index": Seed(
            [index[:1500], index[1500:4000].rpartition(b"[[weights]]")[0]], words=[*TOML, b"tag", b"[[weights]]\n"]
        ),
        "manifest": Seed([json.dumps(manifest).encode()], words=JSON),
        "megadepth": Seed(
            rows, words=[b";", b",", b'"', b"\n", b"nan", b"inf", b"1e999", b"-", b"../", b"\0", b"x" * 400]
        ),
        "homography": Seed(
            [b"1 0 3\n0 1 2\n0 0 1\n"], words=[b"nan", b"inf", b"1e999", b"-", b" ", b"e9", b"0x1", b"1e300"]
        ),
    }
