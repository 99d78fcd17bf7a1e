"""The last question as shell commands that ask it again. Knows no component and no server."""

import json
import shlex

from antiphon.demo.conversation import Conversation
from antiphon.demo.reply_settings import RANDOM_SEED
from antiphon.realtime.conversation_store import ConversationItem

# Gradio answers a call with the id of an event, whose stream brings the answer.
EVENT_ID = "python3 -c 'import json,sys; print(json.load(sys.stdin)[\"event_id\"])'"
UPLOADED = "python3 -c 'import json,sys; print(json.load(sys.stdin)[0])'"


def curl_command(conversation: Conversation, base_url: str) -> str:
    """Write the commands; empty before anything was asked.

    Args:
        conversation: Whose last question is meant; it is asked in a new conversation.
        base_url: Address of the page, ending in a slash.
    """
    questions = [item for item in conversation.items if item.role == "user"]
    if not questions:
        return ""
    question, settings = questions[-1], settings_of(conversation.last_reply())
    if question.kind == "text":
        data = shlex.quote(json.dumps({"data": [question.text, "", *settings]}, ensure_ascii=False))
        return call(base_url, "chat", data)
    clip = f"{base_url}conversation/{conversation.id}/item/{question.id}.wav"
    file = {"path": "FILE", "meta": {"_type": "gradio.FileData"}}
    asked = json.dumps({"data": [file, "", *settings]}).replace('"FILE"', '"$FILE"')
    return "\n".join(
        [
            f"curl -s -o question.wav {shlex.quote(clip)}",
            f"FILE=$(curl -s -F files=@question.wav {base_url}gradio_api/upload | {UPLOADED})",
            call(base_url, "voice", quote_with_file(asked)),
        ]
    )


def quote_with_file(data: str) -> str:
    """Quote JSON for a shell that puts the value of FILE in."""
    before, after = data.split("$FILE")
    return f'{shlex.quote(before)}"$FILE"{shlex.quote(after)}'


def call(base_url: str, name: str, data: str) -> str:
    """Write the two commands of one call."""
    address = f"{base_url}gradio_api/call/{name}"
    return (
        f"EVENT=$(curl -s {address} -H 'Content-Type: application/json' \\\n"
        f"  -d {data} | {EVENT_ID})\n"
        f"curl -s -N {address}/$EVENT"
    )


def settings_of(reply: ConversationItem | None) -> list[float]:
    """Read temperature, top-p, most tokens and seed of a reply; the usual ones where unknown."""
    sampling = reply.details.get("sampling") if reply is not None else None
    known = sampling if isinstance(sampling, dict) else {}
    usual = {"temperature": 0.2, "top_p": 0.8, "max_new_tokens": 2000, "seed": RANDOM_SEED}
    values = [known.get(name) for name in usual]
    return [
        value if isinstance(value, int | float) else default
        for value, default in zip(values, usual.values(), strict=True)
    ]
