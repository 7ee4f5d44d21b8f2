"""What is measured: index access methods of a server, and libraries.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""
