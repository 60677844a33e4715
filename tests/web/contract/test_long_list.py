"""Long lists in JSON: decoded in slices, with the same result as at once."""

import time
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pisync.web.contract import long_list
from pisync.web.contract.long_list import SLICE, LongElement, LongList, NotJson
from pisync.web.contract.request import decode

texts = st.text(st.sampled_from('}],[{"\\ a')) | st.text(max_size=5)
elements = st.fixed_dictionaries(
    {}, optional={"a": texts, "b": st.lists(st.dictionaries(texts, texts, max_size=1), max_size=2)}
)


def read(text: bytes, name: str = "list") -> tuple[list[Any], Any]:
    """The elements of the list, and the object with a number in the place of the list."""
    found = LongList(text, name, decode)
    listed = [element for elements in found.slices() for element in elements]
    return listed, decode(found.replaced_by(b"0"))


@given(
    st.lists(elements, min_size=1, max_size=200),
    st.dictionaries(texts, texts | st.lists(elements, max_size=2), max_size=3),
    st.booleans(),
    st.booleans(),
)
def test_a_list_in_slices_is_the_list(
    listed: list[Any], others: dict[str, Any], comes_first: bool, indented: bool
) -> None:
    others.pop("list", None)
    whole = {"list": listed, **others} if comes_first else {**others, "list": listed}
    text = orjson.dumps(whole, option=orjson.OPT_INDENT_2 if indented else None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(long_list, "SLICE", 1000)
        try:
            assert read(text) == (listed, {**whole, "list": 0})
        except LongElement:
            assert max(len(orjson.dumps(each, option=orjson.OPT_INDENT_2)) for each in listed) > 500


@pytest.mark.parametrize(
    "text",
    [
        b'{"list":[{}',
        b'{"list":[{},',
        b'{"list":[{},]}',
        b'{"list":[{}}',
        b'{"list":[{} {}]}',
        b'{"list":[{}]',
        b'{"list":[{"a":"\xff"}]}',
        b'{"list":[{}]}}',
        b'{"list":[{"a":NaN}]}',
        b'{"list":' + b"[{" * 2000,
    ],
)
def test_what_is_no_json_is_refused(text: bytes) -> None:
    with pytest.raises(NotJson):
        read(text)


def test_no_more_than_a_slice_is_decoded_at_once() -> None:
    decoded: list[int] = []

    def counting(text: bytes) -> Any:
        decoded.append(len(text))
        return decode(text)

    element = b'{"device_id":1234567,"error_message":"Storage Full"},'
    text = b'{"list":[' + element * 250_000 + b'{}],"other":1}'
    assert sum(map(len, LongList(text, "list", counting).slices())) == 250_001
    assert len(text) > 12_000_000
    assert max(decoded) <= SLICE + 2


@pytest.mark.parametrize("text", [b"{}", b'{"list":{}}', b'{"list":[ ]}', b'{"lists":[{}]}', b""])
def test_where_there_is_no_list_it_says_so(text: bytes) -> None:
    with pytest.raises(LookupError):
        read(text)


@pytest.mark.parametrize(
    "element",
    [b"1,", b"1e999,", b'"},{",', b"{" + b" " * SLICE + b"},", b'{"a":"%s"},' % (b"},{" * SLICE)],
    ids=["numbers", "large numbers", "texts", "a long object", "a long text"],
)
def test_an_element_that_is_long_or_no_object_is_named_at_once(element: bytes) -> None:
    text = b'{"list":[{},{},' + element * (8_000_000 // len(element) + 1)
    began = time.process_time()
    with pytest.raises(LongElement) as caught:
        read(text)
    assert caught.value.index in (0, 2)
    assert time.process_time() - began < 2
