"""The RPCs by family, each turning a request into one call of a service.

A method never decides: rules live in the services, spelling in `api/convert.py`.
"""
