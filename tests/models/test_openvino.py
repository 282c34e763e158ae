"""Constants out of OpenVINO files, and what damaged or hostile ones say."""

import numpy as np
import pytest
from idinvert.models import openvino
from idinvert.models.openvino import OpenVinoError, constants

WEIGHTS = np.arange(10, dtype="<f4").tobytes()


def xml(*layers):
    """A network of constants (name, attributes of data) between other layers."""
    body = "".join(f'<layer id="1" name="{name}" type="Const" version="opset1"><data {data}/>'
                   '<output><port id="0" precision="FP32"><dim>2</dim></port></output></layer>'
                   for name, data in layers)
    return ('<?xml version="1.0" ?><net name="n" version="10"><layers><layer id="0" name="x" '
            f'type="Parameter"><data shape="1, 4" element_type="f32"/></layer>{body}</layers>'
            '<edges/></net>').encode()


def data(shape="2, 3", offset="4", size="24", kind="f32"):
    return f'element_type="{kind}" shape="{shape}" offset="{offset}" size="{size}"'


def test_constants_in_the_order_of_the_file():
    found = constants(xml(("m.b", data()), ("axis", data("1", "0", "8", "i64")),
                          ("m.a", data("", "36", "4"))), WEIGHTS)
    assert [name for name, _ in found] == ["m.b", "m.a"]
    np.testing.assert_array_equal(found[0][1], np.arange(1, 7).reshape(2, 3))
    assert found[0][1].dtype == np.float32 and found[0][1].flags.writeable
    assert found[1][1].shape == () and found[1][1] == 9


@pytest.mark.parametrize(("given", "message"), [
    (data(size="20"), r"of shape \[2, 3\] cannot have 20 bytes"),
    (data(shape="2, 3000000", size="24000000"), "ends at byte 24000004 of a .bin file that has 40"),
    (data(offset="20"), "ends at byte 44"),
    (data(offset="-4"), "has '-4' where a number should be"),
    (data(offset="9" * 5000), "has '99999999999999999999' where"),
    (data(shape="2, x"), "has 'x' where"),
    (data(shape="-2, -3"), "has '-2' where"),
    ('element_type="f32" shape="1"', "has '' where a number"),
])
def test_constants_that_do_not_fit(given, message):
    with pytest.raises(OpenVinoError, match=f"Constant 'm.a' {message}"):
        constants(xml(("m.a", given)), WEIGHTS)


def test_every_shortened_file_is_refused():
    """Whatever is cut off the .xml file it is no XML; off the .bin file, a constant's end."""
    whole = xml(("m.a", data(shape="10", offset="0", size="40")))
    for end in range(0, len(whole), 7):
        with pytest.raises(OpenVinoError, match="is no XML"):
            constants(whole[:end], WEIGHTS)
    for end in range(40):
        with pytest.raises(OpenVinoError, match="ends at byte 40"):
            constants(whole, WEIGHTS[:end])


@pytest.mark.parametrize("declared", [
    '<!DOCTYPE net [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;">]>',
    '<!DOCTYPE net [<!ENTITY a SYSTEM "file:///etc/passwd">]>',
    '<!DOCTYPE net SYSTEM "http://127.0.0.1/net.dtd">',
])
def test_document_types_are_refused(declared):
    plain = xml(("m.a", data())).decode()
    hostile = plain.replace("<net name=\"n\"", f"{declared}<net name=\"n\"")
    with pytest.raises(OpenVinoError, match="declares a document type"):
        constants(hostile.encode(), WEIGHTS)


def test_undeclared_entities_and_large_files_are_refused(monkeypatch):
    with pytest.raises(OpenVinoError, match="is no XML"):
        constants(xml(("&a;", data())), WEIGHTS)
    monkeypatch.setattr(openvino, "LARGEST", 100)
    with pytest.raises(OpenVinoError, match=r"has \d+ bytes; networks take at most 100"):
        constants(xml(), WEIGHTS)


def test_deep_nesting_is_no_problem():
    deep = b"<net>" + b"<a>" * 100_000 + b"</a>" * 100_000 + b"</net>"
    assert constants(deep, b"") == []
