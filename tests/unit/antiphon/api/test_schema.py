"""The lines of the wire are those of the original, byte for byte, and come back as they were."""

import json

import pytest
from pydantic import ValidationError

from antiphon.api.schema import (
    ErrorBody,
    ErrorLine,
    FinishLine,
    GenerateRequest,
    ReplyLine,
    TokenLine,
    decode_line,
    encode_line,
)


def test_lines_are_written_as_the_original_writes_them() -> None:
    assert encode_line(TokenLine(token_id=42)) == b'{"token_id": 42, "error_code": 0}\n'
    assert (
        encode_line(TokenLine(token_id=7))
        == (json.dumps({"token_id": 7, "error_code": 0}) + "\n").encode()
    )
    assert encode_line(ErrorLine(text='no "x"')) == b'{"text": "no \\"x\\"", "error_code": 1}\n'


@pytest.mark.parametrize(
    "line", [TokenLine(token_id=0), FinishLine(finish_reason="length"), ErrorLine(text="ü\n")]
)
def test_lines_come_back(line: ReplyLine) -> None:
    encoded = encode_line(line)
    assert encoded.count(b"\n") == 1
    assert decode_line(encoded.decode()) == line


@pytest.mark.parametrize("text", ["", "null", "3", '{"token_id": 1.5}', '{"finish_reason": "x"}'])
def test_other_lines_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        decode_line(text)


def test_the_request_of_the_original_client_is_taken() -> None:
    body = '{"prompt": "x", "temperature": 0.2, "top_p": 0.8, "max_new_tokens": 2000}'
    request = GenerateRequest.model_validate_json(body)
    assert (request.temperature, request.top_p, request.max_new_tokens) == (0.2, 0.8, 2000)
    assert not request.finish_line
    defaults = GenerateRequest(prompt="x")
    assert (defaults.temperature, defaults.top_p, defaults.max_new_tokens) == (1.0, 1.0, 256)


@pytest.mark.parametrize(
    "body",
    ["{}", '{"prompt": "x", "prompt_token_ids": [1]}', '{"prompt": "x", "max_tokens": 3}', "[]"],
)
def test_wrong_requests_are_refused(body: str) -> None:
    with pytest.raises(ValidationError):
        GenerateRequest.model_validate_json(body)


def test_examples_in_the_schema_are_valid() -> None:
    for example in GenerateRequest.model_json_schema()["examples"]:
        GenerateRequest.model_validate(example)


def test_the_body_of_a_refusal_is_an_error_line_with_a_type() -> None:
    assert ErrorBody(text="x", error_type="PromptError").model_dump() == {
        "text": "x",
        "error_code": 1,
        "error_type": "PromptError",
    }
