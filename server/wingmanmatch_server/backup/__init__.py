"""`wingmanmatch backup` and `wingmanmatch restore`: the whole database and its roles as one file.

commands.py     the commands
backing_up.py   from a database, running or not, to the file
restoring.py    from the file to a new data folder, which then takes the old one's place
archive.py      the file
programs.py     pg_dump, pg_dumpall, pg_restore and psql as child processes
roles.py        the roles as a new cluster takes them
database.py     what is asked of a database before it is dumped or replaced
"""
