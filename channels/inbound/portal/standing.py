"""What pages say of states: a word, and the kind by which it is coloured (`badge` of `macros.html`). Pure."""

from __future__ import annotations

from collections.abc import Mapping

from engine.model import OrderState

ORDER_KINDS: Mapping[OrderState, str] = {
    OrderState.CREATED: "",
    OrderState.RECEIVING: "busy",
    OrderState.STABLE: "busy",
    OrderState.PROCESSING: "busy",
    OrderState.DELIVERED: "good",
    OrderState.FAILED: "bad",
    OrderState.CANCELLED: "",
    OrderState.HELD: "wait",
}
ORDER_MEANS: Mapping[OrderState, str] = {
    OrderState.CREATED: "nothing of its study is here yet",
    OrderState.RECEIVING: "its study is arriving",
    OrderState.STABLE: "its study is complete and about to be routed",
    OrderState.PROCESSING: "it is processed, or a delivery is on its way",
    OrderState.DELIVERED: "all that was to be done is done",
    OrderState.FAILED: "a processor, a delivery or its upload gave up",
    OrderState.CANCELLED: "what had not begun never will",
    OrderState.HELD: "it waits for a person",
}
DELIVERY_KINDS: Mapping[str, str] = {
    "queued": "busy",
    "waiting": "busy",
    "delivered": "good",
    "dead": "bad",
    "superseded": "",
    "discarded": "",
    "cancelled": "",
}
OUTCOME_KINDS: Mapping[str, str] = {"passed": "good", "warned": "wait", "failed": "bad"}
RESULT_KINDS: Mapping[str, str] = {
    "preliminary": "busy",
    "final": "good",
    "corrected": "good",
    "retracted": "bad",
    "failed": "bad",
}
