"""A Django application with one model, for test_django.py.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""
