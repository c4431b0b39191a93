set(CMAKE_CXX_FLAGS_INIT "-include cstdint -include stdexcept")
set(CMAKE_USER_MAKE_RULES_OVERRIDE_CXX ${CMAKE_CURRENT_LIST_DIR}/rules.cmake)
