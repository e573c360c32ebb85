"""The RPCs by family; a method turns a request into one call of a service.

It never decides: rules are in the services, the forms of requests in `api/convert.py`.
"""
