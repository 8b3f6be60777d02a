"""Which texts people may show to others, and which addresses are taken. Knows no gRPC.

refused.py          what is wrong with a text
names.py            names of people and of places
web_addresses.py    links in text that is to have none
impersonation.py    names that pass themselves off as ours
email_addresses.py  email addresses
photo_addresses.py  addresses of pictures
"""
