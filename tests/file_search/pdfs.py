"""PDFs as bytes: of some pages of text, harmless or hostile."""

import zlib
from collections.abc import Sequence


def pdf(*pages: str) -> bytes:
    """A page for each text, which must have no parentheses or backslashes."""
    return of_streams([b"BT /F1 12 Tf 72 700 Td (%b) Tj ET" % page.encode("latin-1") for page in pages])


def of_streams(streams: Sequence[bytes], filters: bytes = b"") -> bytes:
    """A page for each stream of instructions, which may be packed."""
    kids = b" ".join(b"%d 0 R" % (4 + 2 * number) for number in range(len(streams)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [%b] /Count %d >>" % (kids, len(streams)),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    ]
    for number, stream in enumerate(streams):
        objects += [
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Resources << /Font << /F1 3 0 R >> >>"
            b" /Contents %d 0 R >>" % (5 + 2 * number),
            b"<< /Length %d %b >>\nstream\n%b\nendstream" % (len(stream), filters, stream),
        ]
    body, places = b"%PDF-1.4\n", []
    for number, text in enumerate(objects, 1):
        places.append(len(body))
        body += b"%d 0 obj\n%b\nendobj\n" % (number, text)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    return (
        body
        + b"xref\n0 %d\n0000000000 65535 f \n%btrailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n"
        % (
            len(objects) + 1,
            table,
            len(objects) + 1,
            len(body),
        )
    )


def bomb(megabytes: int, instructions: bytes = b"(bang) Tj ") -> bytes:
    """A small file whose only page becomes large when it is unpacked, twice."""
    packer = zlib.compressobj(1)
    piece = (instructions * (2**20 // len(instructions) + 1))[: 2**20]
    packed = packer.compress(b"BT /F1 12 Tf 72 700 Td ")
    packed += b"".join(packer.compress(piece) for _ in range(megabytes)) + packer.flush()
    return of_streams([zlib.compress(packed, 9)], b"/Filter [/FlateDecode /FlateDecode]")
