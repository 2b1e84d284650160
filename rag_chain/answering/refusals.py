"""Tell an answer from "I don't know"."""

from __future__ import annotations

import re

from rag_chain.answering.prompt import KNOWLEDGE
from rag_chain.models.extractive import REFUSAL

# As models say it, though they were told the words, in the languages that are asked most.
_PHRASES = re.compile(
    r"i (?:do not|don't|don’t) know|i (?:cannot|can't|can’t|am unable to) (?:answer|find)"
    r"|(?:the |these |provided |given )*(?:sources?|documents?|context|passages?|text)(?: provided| given)? "
    r"(?:do(?:es)? not|don't|doesn't|don’t|doesn’t) (?:answer|contain|say|state|mention|provide|include|specify)"
    r"|there is no (?:information|mention|answer)|no information (?:is|about|on)"
    r"|ich wei(?:ß|ss) (?:es )?nicht|die (?:quellen|dokumente) (?:beantworten|enthalten|sagen|nennen)"
    r"|je ne sais pas|les (?:sources|documents) ne (?:répondent|contiennent|disent|mentionnent)"
    r"|no lo sé|no sé|las fuentes no|los documentos no|non lo so|le fonti non|i documenti non"
    r"|não sei|nao sei|as fontes não|os documentos não"
    r"|わかりません|分かりません|모르겠|알 수 없|我不知道|不知道|无法回答|沒有答案",
    re.IGNORECASE,
)
_MARK = re.compile(r"\[\d")
# Beyond this it says more than that it does not know.
_MOST_CHARACTERS = 400


def is_refusal(answer: str) -> bool:
    """Return whether an answer says that the documents do not answer the question, and nothing else.

    A sentence that says so before an answer with citations is a part of that answer.
    """
    text = answer.strip().lstrip("*_>\"'“ ")
    if text.startswith(KNOWLEDGE):
        return False
    if text.startswith(REFUSAL.split(":")[0]) and not _MARK.search(text):
        return True
    return len(text) <= _MOST_CHARACTERS and not _MARK.search(text) and _PHRASES.match(text) is not None
