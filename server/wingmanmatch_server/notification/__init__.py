"""Mails: nothing lost, nothing twice.

A mail is a row of `notifications`, written in the transaction of its cause (`enqueue_notification`). Any number of
dispatchers claim due rows through the store, render each once, commit the content, and only then hand it to a mailer.
An attempt whose outcome nobody knows is repeated with the same content under the same idempotency key.
"""
