"""`wingmanmatch doctor`: does all that the settings lead to work with the credentials given?

Its parts:

    given.py        the settings that are looked at, read without the rules that `serve` insists on
    report.py       a finding, and the table that a person reads
    examination.py  runs all checks at once, each within its time
    database.py     PostgreSQL by DATABASE_URL: version, role, migrations, extensions
    embedded.py     the data folder of the embedded PostgreSQL: version, and migrations while it runs
    rest.py         Supabase's REST interface with both keys
    valkey.py       Redis or Valkey: version, eviction, persistence
    mail.py         Resend: the key, and the domain that mails are sent from
    claude.py       Claude: the key
"""
