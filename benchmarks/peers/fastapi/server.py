"""FastAPI with pydantic models on uvicorn, uvloop and httptools; the predictor called inline."""

from __future__ import annotations

import os

import fastapi  # type: ignore[import-not-found]  # in an environment of its own
import pydantic
import uvicorn

from toolkit.predictor import Predictor

PREDICTOR = Predictor.load(os.environ["ARTIFACT"])
APPLICATION = fastapi.FastAPI()


class Question(pydantic.BaseModel):
    """The body of a request."""

    inputs: list[str]


class Answer(pydantic.BaseModel):
    """One row of the answer."""

    label: str
    score: float


class Answers(pydantic.BaseModel):
    """The body of the answer."""

    predictions: list[Answer]


@APPLICATION.post("/classify")  # type: ignore[untyped-decorator]
async def classify(question: Question) -> Answers:
    """Label and score of each input."""
    return Answers(predictions=[Answer(label=one.label, score=one.score) for one in PREDICTOR(question.inputs)])


if __name__ == "__main__":
    uvicorn.run(
        APPLICATION, host="127.0.0.1", port=int(os.environ["PORT"]), loop="uvloop", http="httptools",
        access_log=False, log_level="warning",
    )  # fmt: skip
