"""A service with the tests that it had before anybody spoke of a convention.

``cases`` is run twice, unchanged: by ``test_shop_bare`` as it was, by ``test_shop_installed`` after ``install(app)``.
"""
