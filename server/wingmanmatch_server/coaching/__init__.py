"""Coaching: a conversation with Claude about social confidence, and ideas for meet-ups.

    service.py             the gRPC face
    coach.py               one answer, from the person's message to what is remembered of it
    answer.py              an answer as far as it was given, and what it cost
    planner.py             ideas for a meet-up: Claude's, or by fixed rules over the catalogue
    screening.py           what is answered before anything is asked or charged, and what is refused
    safety.py              what is refused or redirected, before the model and after it; safety_patterns.toml
    phrases.py             what each language says about it; safety_phrases/
    folding.py             a message in all forms in which it may be disguised
    second_opinion.py      a small model's opinion on what phrases did not find
    replies.py             what is said instead; replies.toml
    history.py             what is remembered of a conversation, bounded in tokens
    conversation_store.py  conversations in Redis
    store.py               what it asks of the database
    rows.py                what the database returns
    budget.py              a person's tokens for a day: reserved, then settled
    prompts.py             what the model is told; prompts/ holds the texts, each with its version
    model.py               what coaching asks of a model
    claude.py              that, by Anthropic's SDK
    claude_errors.py       what the SDK's errors mean here
    export.py              a person's conversations, for the person to keep
    metrics.py             answers, tokens, refusals

`docs/coaching.md` has the policy on safety and on what is sent to whom.
"""
